"""The command line of lm-evaluation-harness, in which ``--model xlm`` is a model.

Its releases up to 0.4.13 know only the models that stand in their own source, and those that somebody registers before.
"""

from __future__ import annotations

import importlib.util
import sys

from xlm_runtime.errors import ConfigError, XlmError
from xlm_runtime.exits import report


def main() -> None:
    """Register the model and hand over; exits with 2 for what the user can mend."""
    try:
        if importlib.util.find_spec("lm_eval") is None:
            raise ConfigError(
                "lm-evaluation-harness is not installed here: there is no package lm_eval. Install the extra: "
                'pip install "xlm-runtime[lm-eval]".'
            )
        from lm_eval.__main__ import cli_evaluate

        import xlm_runtime.lm_eval.model  # noqa: F401 (registers it)

        cli_evaluate()
    except XlmError as error:
        report(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
