"""``report.html``: what a run is, how it went, how good it is, and what it says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from xlm_runtime.curves import draw
from xlm_runtime.predictions import Row
from xlm_runtime.report.charts import Chart, Line, chart
from xlm_runtime.report.intervals import Estimate, of_mean, wilson, without
from xlm_runtime.report.pages import write_page
from xlm_runtime.report.run_files import Metrics, Predictions, RunFiles, is_run, read_run
from xlm_runtime.runs import save_loaded_config

FILE = "report.html"

#: Rows of each kind (right, wrong, without a truth) that a report shows, and characters of each text.
_SAMPLES, _CHARACTERS = 5, 1500

#: Keys of rows that are shares of what their batch has: rows of one batch are no independent draws.
_SHARED = ("seconds",)

#: Dotted keys of the configuration that stand on top; the whole of it follows below.
_FIRST = ("model._target_", "dataset._target_", "loss._target_", "predictor._target_", "seed", "batch_size")
_FURTHER = ("optimizer._target_", "optimizer.lr", "lr_scheduler._target_", "trainer.max_steps", "trainer.precision")


@dataclass(frozen=True)
class Group:
    """Sample rows of one kind; ``count`` is how many there are in all."""

    title: str
    count: int
    rows: list[Row]


def write_report(run_dir: Path) -> Path:
    """Make ``report.html`` from the files in ``run_dir``; returns where it is."""
    run = read_run(run_dir)
    return write_page(
        run_dir / FILE,
        "report",
        run=run,
        title=run.name,
        settings=[(key, value) for key in (*_FIRST, *_FURTHER) if (value := select(run.config, key)) is not None],
        charts=charts(run),
        metrics=[(found, intervals(found, run.predictions)) for found in run.metrics],
        rows=[(found, _further(found, run.metrics)) for found in run.predictions],
        samples=[(found, samples(found.rows)) for found in run.predictions if found.rows],
        cut=_cut,
    )


def report_after(run_dir: Path, curves: bool = False, loaded: DictConfig | None = None) -> None:
    """Write the report at the end of a job. What goes wrong here is said in one line, and ends nothing.

    Args:
        run_dir: the directory.
        curves: draw ``curves.png`` too, of a job that trained.
        loaded: the configuration of what was evaluated; kept where the model was trained elsewhere.
    """
    failing = sys.exc_info()[0] is not None
    try:
        if curves:
            draw(run_dir)
        if loaded is not None:
            save_loaded_config(run_dir, loaded)
        write_report(run_dir)
    except Exception as error:  # whatever it is: the job has done its work
        if failing:  # and says why: a full disk, say, of which one message is enough
            return
        words = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"The report of {run_dir} could not be written ({words}). The job itself is done.", file=sys.stderr)


def report_of_run(run_dir: Path) -> None:
    """The same at the end of a job that writes nothing else there: only if a run is."""
    if is_run(run_dir):
        report_after(run_dir)


def select(config: Any, key: str) -> Any:
    """The value at a dotted key of plain mappings; None if there is none."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config


def charts(run: RunFiles) -> list[Chart]:
    """One for each metric of metrics.csv: training and validation in the same."""
    parts = {part: place for place, part in enumerate(("train", "val"))}
    return [
        chart(
            metric, [Line(part, parts.setdefault(part, len(parts)), False, points) for part, points in series.items()]
        )
        for metric, series in run.curves.items()
    ]


def estimates(rows: Sequence[Row]) -> dict[str, tuple[str, Estimate]]:
    """What can be counted in rows, by name: the kind, "share" or "mean", and the estimate.

    ``exact match`` is the share of rows whose text is their truth, among those that have one. Any key that holds
    booleans is a share too, and any other that holds numbers has a mean; ``length`` is that of the ids.
    """
    found: dict[str, tuple[str, Estimate]] = {}
    judged = [row["text"] == row["truth"] for row in rows if row.get("truth") is not None and "text" in row]
    if judged:
        found["exact match"] = ("share", wilson(sum(judged), len(judged)))
    lengths = [len(row["ids"]) for row in rows if isinstance(row.get("ids"), list)]
    if lengths:
        found["length"] = ("mean", of_mean(lengths))
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if row.get(key) is not None]
        if values and all(isinstance(value, bool) for value in values):
            found[key] = ("share", wilson(sum(values), len(values)))
        elif key not in ("index", "seed") and values and all(_is_number(value) for value in values):
            mean = of_mean(values)
            found[key] = ("mean", without(mean.value, mean.count) if key in _SHARED else mean)
    return found


def _further(found: Predictions, metrics: Sequence[Metrics]) -> dict[str, tuple[str, Estimate]]:
    """The estimates of rows, less those that an evaluation of these rows has found: a number has one interval."""
    of = [m for m in metrics if (m.split, m.label, m.step) == (found.split, found.label, found.step)]
    known = {name for each in of for name in each.estimates}
    same = {"exact match": "exact_match", "length": "length/mean"}
    return {name: each for name, each in estimates(found.rows).items() if same.get(name, name) not in known}


def samples(rows: Sequence[Row]) -> list[Group]:
    """The first rows that are right, that are wrong, and that have no truth to compare with."""
    kinds: dict[str, list[Row]] = {"right": [], "wrong": [], "not judged: no truth is known": []}
    right, wrong, unknown = kinds.values()
    for row in rows:
        known = row.get("truth") is not None and "text" in row
        (unknown if not known else right if row["text"] == row["truth"] else wrong).append(row)
    return [Group(title, len(found), found[:_SAMPLES]) for title, found in kinds.items() if found]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e100


def intervals(metrics: Metrics, predictions: Sequence[Predictions]) -> dict[str, Estimate]:
    """The intervals that the evaluation found; before it knew any, that of ``exact_match`` alone, if the rows it was
    counted over are there and say the same.
    """
    if metrics.estimates:
        return {name: e for name, e in metrics.estimates.items() if e.value == metrics.values.get(name)}
    for found in predictions:
        if (found.split, found.label, found.step) == (metrics.split, metrics.label, metrics.step):
            _, estimate = estimates(found.rows).get("exact match", ("", None))
            value = metrics.values.get("exact_match")
            if estimate is not None and value is not None and abs(estimate.value - value) < 1e-4:
                return {"exact_match": estimate}
    return {}


def _cut(text: Any) -> str:
    text = str(text)
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]} … ({len(text):,} characters)"
