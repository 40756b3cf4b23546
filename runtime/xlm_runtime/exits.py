"""How a command line ends: an error said so that it can be mended, or silence where nobody reads on."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
import traceback
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from xlm_runtime.errors import XlmError

#: Seconds after which a process that cannot ask the others prints its error itself.
_PATIENCE = 5.0

#: The variable with a directory, in which the processes that one has started note what was said.
_SAID = "_XLM_SAID"


def exit_without_reader() -> NoReturn:
    """Exit as a program does whose output is read no further (``xlm | head -1``): silently, as if by SIGPIPE."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it exits
    sys.exit(128 + 13)


def report(error: XlmError) -> None:
    """Print a user's error: the message alone, or with its traceback under XLM_TRACEBACK=1.

    Of several processes of a run, the first one that has an error prints it.
    """
    if _another_says(str(error)):
        return
    if os.environ.get("XLM_TRACEBACK") == "1":
        traceback.print_exception(error)
    print(f"Error: {_name(error)}{error}", file=sys.stderr)


def speak_with_one_voice(several: bool) -> None:
    """To be called before this process starts others: an error that all of them have is said once.

    Args:
        several: whether it is going to start any; where not, earlier ones are forgotten.
    """
    os.environ.pop(_SAID, None)
    if several:
        os.environ[_SAID] = directory = tempfile.mkdtemp(prefix="xlm-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)


def _another_says(message: str) -> bool:
    """Whether another process has printed the same message, or is about to."""
    name = hashlib.sha256(message.encode()).hexdigest()
    if _SAID in os.environ:
        return _noted(Path(os.environ[_SAID], name))
    return _told_torchrun(name)


def _noted(file: Path) -> bool:
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return True
    except FileNotFoundError:  # the process that started this one has ended, and has said why
        return True
    except OSError:  # better said twice than not at all
        return False
    return False


def _told_torchrun(name: str) -> bool:
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True):  # no torchrun, or a store that may be gone already
        return False
    import torch.distributed as dist  # late: the quick ways through the command line do without torch

    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "")
    key = f"xlm/error/{attempt}/{name}"
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=_PATIENCE),
            wait_for_workers=False,
        )
        return bool(store.add(key, 1) > 1)
    except (RuntimeError, KeyError, ValueError):
        return False


def _name(error: XlmError) -> str:
    # The specification's troubleshooting names this one error by its class.
    return f"{type(error).__name__}: " if type(error).__name__ == "ExternalModelConflictError" else ""
