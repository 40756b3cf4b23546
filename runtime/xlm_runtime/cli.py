"""``xlm``: discover, compose, call one job.

    xlm                                   what there is
    xlm job_type=train experiment=...     train (also -m for sweeps, --cfg job to see the configuration)
    xlm job_type=eval job_name=...        a saved run, with its own configuration

This file stays quick: neither torch nor Hydra is imported before a job runs.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

from xlm_runtime.errors import XlmError
from xlm_runtime.exits import exit_unwritten, exit_without_reader, report
from xlm_runtime.startup import without_collections


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
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        exit_unwritten(error)


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
    with without_collections():
        from xlm_runtime.launch import launch

        launch(arguments)


if __name__ == "__main__":
    main()
