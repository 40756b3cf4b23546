"""A benchmark's report as a page of the documents; nothing on it is typed by hand.

What was not measured this time stays as it was: the JSON beside the page keeps each measurement's rows, and where and
when they were made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measurements.common import Result

_COLUMNS = ("measurement", "ours", "compared with", "ratio", "by processor time", "aim", "prior system", "commit")


def write(file: Path, results: Mapping[str, Sequence[Result]], facts: Mapping[str, Any], order: Sequence[str]) -> None:
    """Write the page ``file`` and its JSON.

    Args:
        file: a Markdown file; its JSON has the same name.
        results: rows by measurement, of this run.
        facts: of this run and its machine, by name; ``commit`` among them.
        order: of all measurements.
    """
    store = file.with_suffix(".json")
    kept = json.loads(store.read_text(encoding="utf-8")) if store.is_file() else {}
    for name, rows in results.items():
        if rows:  # what needs trained runs finds none on a machine that has trained nothing
            kept[name] = {"facts": dict(facts), "rows": [_cells(row) for row in rows]}
    kept = {name: kept[name] for name in order if name in kept}
    file.parent.mkdir(parents=True, exist_ok=True)
    store.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    file.write_text(page(kept), encoding="utf-8")


def page(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: what was measured, when and on what.

    Args:
        kept: of each measurement its ``rows``, seven cells each, and the ``facts`` of its run.
    """
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench ARGS=--page` (`tests/benchmarks/run.py`); nothing here is typed by hand. Both sides of "
        "a ratio were measured in turn in one run: it is the median over neighbouring pairs, by the wall clock and by "
        "processor time. A time or speed is that of the fastest repetition. The prior system's figures were taken on "
        "another machine, so what stands beside them is rough. The last column says in which of the runs below a row "
        "was measured.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---|--:|---|--:|--:|---|---|---|",
    ]
    runs: dict[str, Mapping[str, Any]] = {}
    for measured in kept.values():
        facts = measured["facts"]
        runs[facts["commit"]] = facts
        lines += [f"| {' | '.join([*cells, facts['commit']])} |" for cells in measured["rows"]]
    for facts in runs.values():
        lines += ["", f"## Commit {facts['commit']}", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in facts.items() if name != "commit"]
    return "\n".join(lines) + "\n"


def _cells(row: Result) -> list[str]:
    verdict = {True: ", met", False: ", **not met**", None: ""}[row.met]
    ratios = ("" if value is None else f"{value:.3g}" for value in (row.ratio, row.processor_ratio))
    return [row.name, row.ours, row.compared_with, *ratios, row.aim + verdict, row.prior]
