"""The processes of a run that its first one starts on its machine: what they have said, and whether the first still is.

The first process puts its number and the name of a directory into a variable that the others inherit. Whoever prints an
error notes it in the directory first. The first one removes the directory as it ends, unless it is killed.

The jobs of a sweep have the same processes, which go through them side by side.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from xlm_runtime.errors import XlmError

_VARIABLE = "_XLM_COMPANIONS"

#: Seconds that a process has to notice by itself that the first one is gone.
_GRACE = 5.0

#: What is said last, by this process, of the present job: it changes from job to job of a sweep.
_last_words: Callable[[], str] | None = None
_job = 0


def begin() -> None:
    """To be called by the first process of a run before it starts others."""
    directory = tempfile.mkdtemp(prefix="xlm-")
    os.environ[_VARIABLE] = f"{os.getpid()}:{directory}"
    atexit.register(shutil.rmtree, directory, ignore_errors=True)


def begin_job() -> None:
    """To be called by each of these processes as a job begins: what was said in one may be said in the next."""
    global _job
    _job += 1


def known() -> bool:
    """Whether this is one of several such processes."""
    return _VARIABLE in os.environ


def started() -> bool:
    """Whether this process was started by the first one."""
    return known() and _first() != os.getpid()


def noted(message: str) -> bool:
    """Whether one of these processes has printed a message; else note that this one is about to."""
    try:
        name = hashlib.sha256(message.encode(errors="replace")).hexdigest()
        Path(_directory(), f"{_job}-{name}").touch(exist_ok=False)
    except (FileExistsError, FileNotFoundError):  # where there is no directory, the first one has ended, and said why
        return True
    except OSError:  # better said twice than not at all
        return False
    return False


def first_was_killed() -> bool:
    """Whether the first process has ended without a word, and nobody has said so: waits a moment for its end."""
    until = time.monotonic() + _GRACE
    while _first_lives() and time.monotonic() < until:
        time.sleep(0.05)
    return not _first_lives() and _silent()


def watch_first(words: Callable[[], str], say: Callable[[str], None]) -> None:
    """End this process soon after the first one, whatever it waits for; with these words, where that was killed.

    In a further job the words are replaced.
    """
    global _last_words
    watched, _last_words = _last_words is not None, words
    if watched:
        return

    def watch() -> None:
        while _first_lives():
            time.sleep(0.5)
        time.sleep(_GRACE)
        if _silent() and _last_words is not None and not noted(text := _last_words()):
            say(text)
        forget()
        os._exit(XlmError.exit_code)

    threading.Thread(target=watch, daemon=True, name="watch-first-process").start()


def forget() -> None:
    """Remove the directory, in the place of a first process that cannot."""
    if known():
        shutil.rmtree(_directory(), ignore_errors=True)


def _first() -> int:
    return int(os.environ[_VARIABLE].partition(":")[0])


def _directory() -> str:
    return os.environ[_VARIABLE].partition(":")[2]


def _first_lives() -> bool:
    try:
        os.kill(_first(), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _silent() -> bool:
    directory = Path(_directory())
    return directory.is_dir() and not any(directory.glob(f"{_job}-*"))
