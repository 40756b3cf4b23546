"""The other end of ``measurements.common.in_fresh_process``: one call, its answer written as JSON."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    module, function, arguments, file = json.loads(sys.argv[1])
    answer = getattr(importlib.import_module(f"measurements.{module}"), function)(**arguments)
    Path(file).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
