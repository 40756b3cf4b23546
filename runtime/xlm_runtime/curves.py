"""``curves.png``: what ``metrics.csv`` holds, drawn; one panel a metric, training and validation in the same."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from xlm_runtime.files import whole_file

Series = dict[str, list[tuple[int, float]]]

_COLUMNS = 3
_COLORS = {"train": "#4c78a8", "val": "#e45756"}


def read_curves(file: Path) -> dict[str, Series]:
    """The finite values of ``metrics.csv``: metric -> part ("train", "val") -> (step, value).

    What a killed run left half-written is passed over: a last line without its end, and what is no number.
    """
    curves: dict[str, Series] = {}
    whole_lines = file.read_text(encoding="utf-8", errors="replace").rpartition("\n")[0]
    for row in csv.DictReader(whole_lines.splitlines()):
        step = row.get("step") or ""
        for name, text in row.items() if step.isdecimal() else ():
            part, _, metric = (name or "").rpartition("/")
            value = _number(text)
            if metric and part and math.isfinite(value):
                curves.setdefault(metric, {}).setdefault(part, []).append((int(step), value))
    return curves


def last_validation(run_dir: Path) -> dict[str, float]:
    """The metrics of the last validation that ``metrics.csv`` holds, by their names; empty where there is none."""
    try:
        curves = read_curves(run_dir / "metrics.csv")
    except OSError:
        return {}
    last = {
        f"{part}/{metric}": points[-1]
        for metric, series in curves.items()
        for part, points in series.items()
        if part != "train"
    }
    latest = max((step for step, _ in last.values()), default=0)
    return {name: value for name, (step, value) in sorted(last.items()) if step == latest}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except (TypeError, ValueError):  # csv gives a list to what no column is for
        return math.nan


def draw(run_dir: Path) -> Path | None:
    """Draw ``metrics.csv`` of a run; None where there is nothing to draw."""
    file = run_dir / "metrics.csv"
    curves = read_curves(file) if file.is_file() else {}
    if not curves:
        return None
    image = run_dir / "curves.png"
    _draw(curves, run_dir.name, image)
    return image


def _draw(curves: Mapping[str, Series], title: str, image: Path) -> None:
    # Takes a third of a second to import: only when there is a picture to make.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    columns = min(_COLUMNS, len(curves))
    rows = math.ceil(len(curves) / columns)
    width, height = 4.2 * columns, 2.8 * rows + 0.4
    figure = Figure(figsize=(width, height))
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title, y=1 - 0.08 / height, va="top")
    # In inches, with room for every label: matplotlib's own layouts draw all of it once more, to measure.
    figure.subplots_adjust(
        left=0.6 / width, right=1 - 0.15 / width, bottom=0.5 / height, top=1 - 0.7 / height, wspace=0.22, hspace=0.36
    )
    for place, (metric, series) in enumerate(curves.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        for part, points in series.items():
            steps, values = zip(*points, strict=True)
            marker = "o" if len(points) < 30 else None
            axes.plot(steps, values, marker=marker, markersize=3, label=part, color=_COLORS.get(part))
        # Both at a place of their own: matplotlib finds one by measuring every label once more.
        axes.set_title(metric, fontsize=10, y=1)
        axes.set_xlabel("step", fontsize=8)
        axes.xaxis.set_label_coords(0.5, -0.13)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if len(series) > 1:
            axes.legend(fontsize=8, frameon=False)
    with whole_file(image) as stream:
        canvas.print_png(stream, pil_kwargs={"compress_level": 1})  # type: ignore[no-untyped-call]
