"""Several runs side by side: metrics, curves, and where their configurations differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlm_runtime.errors import CheckpointError, ConfigError, did_you_mean
from xlm_runtime.report.charts import Chart, Line, chart
from xlm_runtime.report.intervals import Estimate
from xlm_runtime.report.pages import write_page
from xlm_runtime.report.run_files import RunFiles, is_run, read_run
from xlm_runtime.report.run_report import intervals

#: Where runs named by their job_name are, as the configuration's run_dir has it.
RUNS = Path("runs")

#: Keys that differ between any two runs, and say nothing.
_NAMES = ("job_name", "run_dir", "job_type")


@dataclass(frozen=True)
class Cell:
    """A run's value of a metric; its interval, and what it is (``means`` of the configuration), where known."""

    value: float
    estimate: Estimate | None = None
    means: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What several runs have in common rows.

    Attributes:
        names: of the runs, no two the same.
        runs: their files.
        metrics: ``split/metric`` (and label) -> a cell for each run, or None.
        charts: one a metric and part, a line a run.
        settings: dotted key -> a value for each run, where these differ; None where a run has no such key.
        without_config: the names of runs whose configuration cannot be read, which are left out of ``settings``.
    """

    names: list[str]
    runs: list[RunFiles]
    metrics: dict[str, list[Cell | None]]
    charts: list[Chart]
    settings: dict[str, list[Any]]
    without_config: list[str]


def find_run(name: str) -> Path:
    """The directory of a run: below ``runs/`` by its job_name, or any directory by its path.

    Raises:
        CheckpointError: nothing has been written there; names the runs that are near.
    """
    for directory in (RUNS / name, Path(name)):
        if directory.is_dir() and is_run(directory):
            return directory
    near = sorted({path.parent.relative_to(RUNS).as_posix() for path in RUNS.glob("**/config.yaml")})
    found = f"{name} holds no file of a run" if Path(name).is_dir() else f"there is neither {RUNS / name} nor {name}"
    raise CheckpointError(
        f"There is no run '{name}': {found}. {did_you_mean(name, near)}\n"
        f"Runs in {RUNS}: {', '.join(near[:20]) or 'none'}{' …' if len(near) > 20 else ''}. "
        "Give the job_name of a run, or the path of its directory."
    )


def find_runs(names: Any) -> list[Path]:
    """The directories of several runs, each once.

    Raises:
        ConfigError: no list of at least two different runs.
        CheckpointError: one of them does not exist.
    """
    if isinstance(names, str) or not isinstance(names, Sequence) or len(names) < 2:
        raise ConfigError(f"runs is {names!r}; expected at least two names of runs or directories: runs=[a,b].")
    found = [find_run(str(name)) for name in names]
    places = [directory.resolve() for directory in found]
    for place, name in enumerate(names):
        if places[place] in places[:place]:
            raise ConfigError(
                f"runs names {found[place]} twice ('{names[places.index(places[place])]}' and '{name}'). "
                "Expected different runs: name each once."
            )
    return found


def compare(directories: Sequence[Path]) -> Comparison:
    """Read the runs and put what they hold side by side."""
    runs = [read_run(directory) for directory in directories]
    names = _names(directories)
    return Comparison(
        names=names,
        runs=runs,
        metrics=_metrics(runs),
        charts=list(_charts(runs, names)),
        settings=_differing([run.config for run in runs]),
        without_config=[name for name, run in zip(names, runs, strict=True) if not run.config],
    )


def write_comparison(file: Path, comparison: Comparison) -> Path:
    """Write the page; returns where it is."""
    return write_page(file, "compare", title=", ".join(comparison.names), comparison=comparison)


def _names(directories: Sequence[Path]) -> list[str]:
    names = [directory.resolve().name for directory in directories]
    return [str(path) if names.count(name) > 1 else name for path, name in zip(directories, names, strict=True)]


def _metrics(runs: Sequence[RunFiles]) -> dict[str, list[Cell | None]]:
    rows: dict[str, list[Cell | None]] = {}
    for place, run in enumerate(runs):
        for found in run.metrics:
            known = intervals(found, run.predictions)
            for name, value in found.values.items():
                key = f"{found.split}/{name}" + (f" ({found.label})" if found.label else "")
                rows.setdefault(key, [None] * len(runs))[place] = Cell(value, known.get(name), found.means.get(name))
    return dict(sorted(rows.items()))


def _charts(runs: Sequence[RunFiles], names: Sequence[str]) -> Iterator[Chart]:
    keys = dict.fromkeys((metric, part) for run in runs for metric, series in run.curves.items() for part in series)
    for metric, part in keys:
        lines = [
            Line(name, place, place >= 8, run.curves.get(metric, {}).get(part, []))
            for place, (name, run) in enumerate(zip(names, runs, strict=True))
        ]
        yield chart(f"{part}/{metric}", lines)


def _differing(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    flat = [dict(_flatten(config)) for config in configs]
    known = [config for config in flat if config]  # a run that has none differs in nothing
    keys = [key for key in dict.fromkeys(key for config in known for key in config) if key not in _NAMES]
    differing = [key for key in keys if any(config.get(key) != known[0].get(key) for config in known)]
    return {key: [config.get(key) for config in flat] for key in differing}


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
