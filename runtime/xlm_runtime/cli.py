"""``xlm``: discover, compose, call one job.

xlm                                       what there is
xlm job_type=train experiment=...         train (also -m for sweeps, --cfg job to see the configuration)
xlm job_type=eval job_name=...            a saved run, with its own configuration
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from xlm_runtime.errors import XlmError


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 2 for what the user can mend, 1 for a bug, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            _run(arguments)
        finally:
            sys.stdout.flush()  # here, where a reader that has gone can still be dealt with
    except XlmError as error:
        report(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "Interrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        exit_without_reader()


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


def _run(arguments: list[str]) -> None:
    if "--version" in arguments:
        from xlm_runtime import __version__

        print(f"xlm-runtime {__version__}")
        return
    if not arguments or {"-h", "--help"} & set(arguments) or "job_type=list" in arguments:
        # Must stay quick: neither torch nor Hydra is imported on this path.
        from xlm_runtime.jobs.list import run

        run()
        return
    from xlm_runtime.launch import launch

    launch(arguments)


if __name__ == "__main__":
    main()
