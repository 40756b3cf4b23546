"""How a command line ends: an error said so that it can be mended, or silence where nobody reads on."""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

from xlm_runtime.errors import XlmError


def exit_without_reader() -> NoReturn:
    """Exit as a program does whose output is read no further (``xlm | head -1``): silently, as if by SIGPIPE."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it exits
    sys.exit(128 + 13)


def report(error: XlmError) -> None:
    """Print a user's error: the message alone, or with its traceback under XLM_TRACEBACK=1."""
    if os.environ.get("XLM_TRACEBACK") == "1":
        traceback.print_exception(error)
    print(f"Error: {_name(error)}{error}", file=sys.stderr)


def _name(error: XlmError) -> str:
    # The specification's troubleshooting names this one error by its class.
    return f"{type(error).__name__}: " if type(error).__name__ == "ExternalModelConflictError" else ""
