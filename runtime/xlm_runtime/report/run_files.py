"""What stands in a run's directory, read leniently: whatever a killed run left half-written is passed over."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from xlm_runtime.curves import Series, read_curves
from xlm_runtime.predictions import Row
from xlm_runtime.report.intervals import Estimate
from xlm_runtime.runs import CONFIG, END, LOADED

_ROWS = re.compile(r"step=(\d+)(?:\.(.+))?\.jsonl")
_METRICS = re.compile(r"metrics-([^.]+)(?:\.(.+))?\.json")


@dataclass(frozen=True)
class Predictions:
    """The newest rows of a split and label; ``broken`` lines of the file could not be read."""

    file: str
    split: str
    step: int
    label: str | None
    rows: list[Row]
    broken: int


@dataclass(frozen=True)
class Metrics:
    """Numbers of one split, by name without the split.

    Attributes:
        file: where they stand.
        split, step, label: of what they are.
        values: by name.
        estimates: the intervals of those that have one.
        means: what a number is, such as "exact" of a perplexity, where that is said: by the evaluation, whose model may
            not be the one that was trained here; where none says anything of the number, by the configuration.
        facts: what else the evaluation says of itself: its rows, the words of its command line, …
    """

    file: str
    split: str
    step: int | None
    label: str | None
    values: dict[str, float]
    estimates: dict[str, Estimate] = field(default_factory=dict)
    means: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFiles:
    """A run as its files tell it.

    Attributes:
        directory: where they are.
        config_text: config.yaml as it stands; of a directory in which a model from elsewhere was evaluated,
            loaded.yaml; None if there is neither.
        config: the same, parsed; empty if it cannot be.
        curves: of metrics.csv: metric -> part -> points.
        last_step: the last one that was logged.
        end: finished.json.
        metrics, predictions: by split and label.
        checkpoints, trajectories: names of files.
    """

    directory: Path
    config_text: str | None
    config: dict[str, Any]
    curves: dict[str, Series]
    last_step: int | None
    end: dict[str, Any] | None
    metrics: list[Metrics]
    predictions: list[Predictions]
    checkpoints: list[str]
    trajectories: list[str]

    @property
    def name(self) -> str:
        """What the run is called: its directory's name."""
        return self.directory.resolve().name

    @property
    def status(self) -> str:
        """How far it came, in words."""
        if self.end is not None:
            return f"finished at step {self.end.get('step')}"
        if self.last_step is not None:
            return f"not finished: stopped, died or still running; the last step logged is {self.last_step}"
        return "no training was logged here"


def is_run(directory: Path) -> bool:
    """Whether a run, or an evaluation, has written here."""
    return any((directory / name).exists() for name in (CONFIG, END, "metrics.csv", "predictions")) or any(
        directory.glob("metrics-*.json")
    )


def read_run(directory: Path) -> RunFiles:
    """Read what there is."""
    text = next((text for name in (CONFIG, LOADED) if (text := _text(directory / name)) is not None), None)
    config = _yaml(text)
    curves = _curves(directory / "metrics.csv")
    steps = [step for series in curves.values() for points in series.values() for step, _ in points]
    end = _json(directory / END)
    means = _means(config)
    return RunFiles(
        directory=directory,
        config_text=text,
        config=config,
        curves=curves,
        last_step=max(steps, default=None),
        end=end,
        metrics=[*_validation(curves, end, means), *_evaluations(directory, means)],
        predictions=list(_predictions(directory)),
        checkpoints=sorted(path.name for path in (directory / "checkpoints").glob("*.ckpt")),
        trajectories=sorted(path.name for path in directory.glob("trajectory*.html")),
    )


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _yaml(text: str | None) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text or "")
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def _json(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(_text(file) or "")
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _curves(file: Path) -> dict[str, Series]:
    try:
        return read_curves(file)
    except OSError:
        return {}


def _validation(curves: dict[str, Series], end: dict[str, Any] | None, means: dict[str, str]) -> Iterator[Metrics]:
    """The last validation: as the end of the run has it, else the last row of metrics.csv that holds one."""
    last: dict[str, dict[str, tuple[int, float]]] = {}
    for metric, series in curves.items():
        for part, points in series.items():
            if part != "train" and points:
                last.setdefault(part, {})[metric] = points[-1]
    ended = _by_split(end.get("metrics")) if end else {}
    for split in dict.fromkeys([*ended, *last]):
        if split in ended:
            yield Metrics(END, split, _whole((end or {}).get("step")), None, ended[split], means=means)
        else:
            step = max(step for step, _ in last[split].values())
            values = {name: value for name, (at, value) in last[split].items() if at == step}
            yield Metrics("metrics.csv", split, step, None, values, means=means)


def _evaluations(directory: Path, means: dict[str, str]) -> Iterator[Metrics]:
    entries = {f"metrics-{name}.json": entry for name, entry in (_json(directory / "metrics.json") or {}).items()}
    for file in sorted(directory.glob("metrics-*.json")):
        content, named = _json(file), _METRICS.fullmatch(file.name)
        if content and named:
            step = _whole(content.get("step"))
            facts = _about(entries.get(file.name), step)
            numbers = facts.pop("metrics", {})
            said = means | {name: number["means"] for name, number in numbers.items() if "means" in number}
            known = {name: words for name, words in said.items() if isinstance(words, str)}
            for split, values in _by_split(content).items():
                yield Metrics(file.name, split, step, named[2], values, _estimates(numbers), known, facts)


def _about(entry: Any, step: int | None) -> dict[str, Any]:
    """An entry of metrics.json if it is about the same step, its numbers being objects; else nothing."""
    if not isinstance(entry, dict) or entry.get("step") != step:
        return {}
    numbers = entry.get("metrics")
    pairs = numbers.items() if isinstance(numbers, dict) else ()
    return {**entry, "metrics": {str(name): number for name, number in pairs if isinstance(number, dict)}}


def _estimates(numbers: dict[str, dict[str, Any]]) -> dict[str, Estimate]:
    """The intervals of those that have one."""
    found: dict[str, Estimate] = {}
    for name, number in numbers.items():
        ends = [number.get(key) for key in ("value", "low", "high")]
        if all(isinstance(end, int | float) and math.isfinite(end) for end in ends):
            value, low, high = (float(number[key]) for key in ("value", "low", "high"))
            count, method, unit = (number.get(key) for key in ("count", "method", "unit"))
            estimate = Estimate(value, low, high, _whole(count) or 0, str(method), str(unit))
            found |= {name: estimate} if estimate.known else {}
    return found


def _means(config: dict[str, Any]) -> dict[str, str]:
    """What ``metrics.<kind>.<name>.means`` says, by name."""
    kinds = config.get("metrics")
    nodes = [kind for kind in kinds.values() if isinstance(kind, dict)] if isinstance(kinds, dict) else []
    named = [(name, node.get("means")) for kind in nodes for name, node in kind.items() if isinstance(node, dict)]
    return {str(name): means for name, means in named if isinstance(means, str)}


def _by_split(values: Any) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        split, slash, metric = str(name).partition("/")
        if slash and isinstance(value, int | float) and math.isfinite(value):
            found.setdefault(split, {})[metric] = float(value)
    return found


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _predictions(directory: Path) -> Iterator[Predictions]:
    newest: dict[tuple[str, str], tuple[int, Path]] = {}
    for file in sorted((directory / "predictions").glob("*/step=*.jsonl")):
        if named := _ROWS.fullmatch(file.name):
            key, step = (file.parent.name, named[2] or ""), int(named[1])
            if key not in newest or newest[key][0] < step:
                newest[key] = (step, file)
    for (split, label), (step, file) in sorted(newest.items()):
        rows, broken = _rows(file)
        yield Predictions(file.relative_to(directory).as_posix(), split, step, label or None, rows, broken)


def _rows(file: Path) -> tuple[list[Row], int]:
    rows, broken = [], 0
    for line in (_text(file) or "").split("\n"):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError:
            broken += 1
            continue
        if isinstance(row, dict):
            rows.append(row)
        elif row is not None:
            broken += 1
    return rows, broken
