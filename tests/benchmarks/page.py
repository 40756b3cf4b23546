"""A benchmark's report as a page of the documents; nothing on it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from measurements.common import Result

_COLUMNS = ("measurement", "ours", "compared with", "ratio", "by processor time", "aim", "prior system")


def page(results: Sequence[Result], facts: Mapping[str, Any], failures: Mapping[str, str]) -> str:
    """Markdown: what was measured, when and on what.

    Args:
        results: the rows of the table.
        facts: of the run and its machine, by name.
        failures: measurements that could not be made, and why.
    """
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench ARGS=--page` (`tests/benchmarks/run.py`); nothing here is typed by hand. Both sides of "
        "a ratio were measured in turn in one run: it is the median over neighbouring pairs, by the wall clock and by "
        "processor time. A time or speed is that of the fastest repetition. The prior system's figures were taken on "
        "another machine, so what stands beside them is rough.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---|--:|---|--:|--:|---|---|",
    ]
    for row in results:
        verdict = {True: ", met", False: ", **not met**", None: ""}[row.met]
        ratios = ("" if value is None else f"{value:.3g}" for value in (row.ratio, row.processor_ratio))
        lines.append(
            f"| {' | '.join([row.name, row.ours, row.compared_with, *ratios, row.aim + verdict, row.prior])} |"
        )
    lines += ["", *(f"Not measured: {name}: {words.splitlines()[-1]}" for name, words in failures.items())]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]
    return "\n".join(lines) + "\n"
