"""``discover()`` with 1, 100 and 1,000 registered models, each in a fresh process."""

from __future__ import annotations

import json
from pathlib import Path

from measurements.common import Result, Seconds, Settings, fastest, in_fresh_process, seconds_of

COUNTS = (1, 100, 1000)


def measure(settings: Settings) -> list[Result]:
    for count in COUNTS:
        _register(settings.work / f"models-{count}", count)
    repeats = settings.repeats(9, 3)
    times: dict[int, list[Seconds]] = {count: [] for count in COUNTS}
    for _ in range(repeats):
        for count in COUNTS:
            directory = str(settings.work / f"models-{count}")
            answer = in_fresh_process("discovery", "discover_seconds", settings, directory=directory)
            times[count].append(Seconds(*answer))
    best = {count: fastest(values) for count, values in times.items()}
    return [
        Result(
            name=f"discovery of {count:,} model{'s' * (count > 1)}",
            ours=str(best[count]),
            compared_with="" if count == 1 else f"1 model: {best[1]}",
            ratio=None if count == 1 else best[count].wall / best[1].wall,
            processor_ratio=None if count == 1 else best[count].processor / best[1].processor,
            details={"seconds": times[count]},
        )
        for count in COUNTS
    ]


def discover_seconds(directory: str) -> Seconds:
    """One search from ``directory``, the first of its process; importing the module is not counted."""
    from xlm_runtime.discovery import discover

    found = None

    def search() -> None:
        nonlocal found
        found = discover(Path(directory), {})

    seconds = seconds_of(search)
    assert found is not None
    assert len(found.models) >= int(directory.rpartition("-")[2])
    return seconds


def _register(directory: Path, count: int) -> None:
    for number in range(count):
        root = directory / f"model_{number}"
        (root / f"model_{number}").mkdir(parents=True)
        (root / f"model_{number}" / "__init__.py").touch()
        (root / "configs" / "experiment").mkdir(parents=True)
        (root / "configs" / "experiment" / f"star_easy_model_{number}.yaml").write_text("seed: 1\n", encoding="utf-8")
        (root / "configs" / "commands.yaml").write_text(f"count_{number}: model_{number}.jobs.count\n", "utf-8")
    registry = {f"model_{number}": f"model_{number}" for number in range(count)}
    (directory / "xlm_models.json").write_text(json.dumps(registry), encoding="utf-8")
