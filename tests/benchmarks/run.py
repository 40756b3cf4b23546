"""``make bench``: measure, print one table, write ``build/bench/results.json``.

    python tests/benchmarks/run.py                      everything
    python tests/benchmarks/run.py --only training,help
    python tests/benchmarks/run.py --quick              a rough look

Ratios are of two things measured in turn in this run; a figure of the prior system stands beside them as it was
published, from another machine. Nothing here is a test: no figure fails, and a machine busy with other work gives
wider spreads (the JSON holds every single time).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from measurements import discovery, generation, packages, startup, template, training
from measurements.common import REPOSITORY, Result, Settings
from rich.console import Console
from rich.table import Table

MEASUREMENTS: dict[str, Callable[[Settings], list[Result]]] = {
    "packages": packages.measure,
    "help": startup.measure_help,
    "discovery": discovery.measure,
    "copier": template.measure,
    "first_step": startup.measure_first_step,
    "training": training.measure,
    "generation": generation.measure,
}


def main() -> None:
    """Exit status 1 if a measurement could not be made."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 170)
    results: dict[str, list[Result]] = {}
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="xlm-bench-") as work:
        settings = Settings(options.quick, options.threads, Path(work))
        os.environ.setdefault("XLM_CACHE_DIR", str(Path(work) / "cache"))
        for name in options.only:
            print(f"measuring {name} …", flush=True)
            try:
                results[name] = MEASUREMENTS[name](settings)
            except Exception as error:  # the others are still worth having
                traceback.print_exc()
                failures[name] = str(error)
    console.print(_table([row for rows in results.values() for row in rows]))
    print(f"{options.json}")
    _write(options, results, failures)
    for name, words in failures.items():
        print(f"failed: {name}: {words.splitlines()[0]}")
    sys.exit(1 if failures else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the runtime.")
    parser.add_argument(
        "--only",
        type=_names,
        default=list(MEASUREMENTS),
        metavar="NAMES",
        help=f"comma-separated, of: {', '.join(MEASUREMENTS)}",
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--threads", type=int, help="of torch, both sides (default: torch's own choice)")
    parser.add_argument("--json", type=Path, default=REPOSITORY / "build" / "bench" / "results.json")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are: {', '.join(MEASUREMENTS)}")
    return names


def _table(results: list[Result]) -> Table:
    table = Table(title="xlm bench")
    for column in ("measurement", "ours", "compared with", "ratio", "aim", "prior system"):
        table.add_column(column, justify="right" if column in ("ours", "ratio") else "left")
    for row in results:
        verdict = {True: "  met", False: "  not met", None: ""}[row.met]
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        table.add_row(row.name, row.ours, row.compared_with, ratio, row.aim + verdict, row.prior)
    return table


def _write(options: argparse.Namespace, results: dict[str, list[Result]], failures: dict[str, str]) -> None:
    report = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "machine": {
            "system": platform.platform(),
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        },
        "results": {name: [asdict(row) for row in rows] for name, rows in results.items()},
        "failures": failures,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
