"""``make bench``: measure, print one table, write ``build/bench/results.json``.

    python tests/benchmarks/run.py                      everything
    python tests/benchmarks/run.py --only training,help
    python tests/benchmarks/run.py --quick              a rough look
    python tests/benchmarks/run.py --page               and write docs/results/benchmarks.md

A ratio is the median over pairs, each of two things measured one after the other; a time or speed is that of the
fastest repetition, the one that other work on the machine disturbed least. The prior system's figures come from
another machine. Nothing here is a test: no figure fails. The JSON holds every single time.

One thread by default: on a busy machine, two threads that wait for one another measure the other work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import page
from measurements import (
    continuing,
    decoding,
    decoding_trained,
    discovery,
    generation,
    packages,
    startup,
    template,
    text_data,
    training,
)
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
    "continuing": continuing.measure,
    "text_data": text_data.measure,
    "generation": generation.measure,
    "decoding": decoding.measure,
    "decoding_trained": decoding_trained.measure,
}

_LOAD = os.getloadavg() if hasattr(os, "getloadavg") else ()
PAGES = {
    device: REPOSITORY / "docs" / "results" / f"benchmarks{end}.md" for device, end in (("cpu", ""), ("cuda", "_gpu"))
}
#: What knows both devices.
ON_A_GPU = ("first_step", "training", "generation", "decoding")
NUMBERS = ("ours", "ratio", "by processor time")


def main() -> None:
    """Exit status 1 if a measurement could not be made."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 190)
    results: dict[str, list[Result]] = {}
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="xlm-bench-") as work:
        settings = Settings(options.quick, options.threads, Path(work), options.device)
        os.environ.setdefault("XLM_CACHE_DIR", str(Path(work) / "cache"))
        for name in options.only:
            print(f"measuring {name} …", flush=True)
            try:
                results[name] = MEASUREMENTS[name](settings)
            except Exception as error:  # the others are still worth having
                print(error, file=sys.stderr)
                failures[name] = str(error)
    console.print(_table([row for rows in results.values() for row in rows]))
    print(f"{options.json}")
    _write(options, results, failures)
    if options.page:
        facts = {"date": f"{datetime.now(UTC):%Y-%m-%d}", **_machine(options.device), "command": _command()}
        page.write(PAGES[options.device], results, {**facts, "commit": _commit()}, list(MEASUREMENTS))
    for name, words in failures.items():
        print(f"failed: {name}: {words.splitlines()[-1]}")
    sys.exit(1 if failures else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the runtime.")
    parser.add_argument(
        "--only",
        type=_names,
        metavar="NAMES",
        help=f"comma-separated, of: {', '.join(MEASUREMENTS)}",
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on both sides; 0: torch's own choice")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="cuda: those measurements that know it"
    )
    parser.add_argument(
        "--page", action="store_true", help=f"write {PAGES['cpu'].relative_to(REPOSITORY)} too, or that of a GPU"
    )
    parser.add_argument("--json", type=Path, default=REPOSITORY / "build" / "bench" / "results.json")
    options = parser.parse_args()
    if options.only is None:
        options.only = list(MEASUREMENTS if options.device == "cpu" else ON_A_GPU)
    return options


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are: {', '.join(MEASUREMENTS)}")
    return names


def _table(results: list[Result]) -> Table:
    table = Table(
        title="xlm bench", caption="times: the fastest repetition; ratios: the median over neighbouring pairs"
    )
    for column in ("measurement", "ours", "compared with", "ratio", "by processor time", "aim", "prior system"):
        table.add_column(column, justify="right" if column in NUMBERS else "left")
    for row in results:
        verdict = {True: "  met", False: "  not met", None: ""}[row.met]
        ratios = ("" if value is None else f"{value:.3g}" for value in (row.ratio, row.processor_ratio))
        table.add_row(row.name, row.ours, row.compared_with, *ratios, row.aim + verdict, row.prior)
    return table


def _write(options: argparse.Namespace, results: dict[str, list[Result]], failures: dict[str, str]) -> None:
    report = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "machine": _machine(options.device),
        "results": {name: [asdict(row) for row in rows] for name, rows in results.items()},
        "failures": failures,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _machine(device: str) -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return {
        **({"GPU": _gpu()} if device == "cuda" else {}),
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "lightning": version("lightning"),
        "load average before": " ".join(f"{value:.2f}" for value in _LOAD),
    }


def _gpu() -> str:
    words = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _command() -> str:
    return f"`make bench ARGS='{' '.join(sys.argv[1:])}'`"


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
