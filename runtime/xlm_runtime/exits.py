"""How a command line ends: an error said so that it can be mended, or silence where nobody reads on."""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from datetime import timedelta
from typing import NoReturn

from xlm_runtime import companions
from xlm_runtime.errors import XlmError

#: Seconds after which a process that cannot ask the others prints its error itself.
_PATIENCE = 5.0


def exit_without_reader() -> NoReturn:
    """Exit as a program does whose output is read no further (``xlm | head -1``): silently, as if by SIGPIPE."""
    _silence()
    sys.exit(128 + 13)


def exit_unwritten(error: OSError) -> NoReturn:
    """Exit where the standard output leads to a full disk (``xlm > list.txt``)."""
    _silence()
    print(f"Error: The output cannot be written: {error.strerror}. Send it to another disk.", file=sys.stderr)
    sys.exit(XlmError.exit_code)


def _silence() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it exits


def report(error: XlmError) -> None:
    """Print a user's error: the message alone, or with its traceback under XLM_TRACEBACK=1.

    Of several processes of a run, the first one that has an error prints it. What was reported is not repeated.
    """
    if error.said or _another_says(str(error)):
        return
    error.said = True
    if os.environ.get("XLM_TRACEBACK") == "1":
        traceback.print_exception(error)
    print(f"Error: {_name(error)}{error}", file=sys.stderr)


def _another_says(message: str) -> bool:
    """Whether another process has printed the same message, or is about to."""
    return companions.noted(message) if companions.known() else _told_torchrun(message)


def _told_torchrun(message: str) -> bool:
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True):  # no torchrun, or a store that may be gone already
        return False
    import torch.distributed as dist  # late: the quick ways through the command line do without torch

    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "")
    key = f"xlm/error/{attempt}/{hashlib.sha256(message.encode(errors='replace')).hexdigest()}"
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
