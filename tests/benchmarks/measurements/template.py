"""The template's life: copy, update, check-update, and copies of all starting points, from two releases of it.

The releases hold the working tree; between them one line of a managed file differs.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from measurements.common import REPOSITORY, Result, Seconds, Settings, alternate, fastest, process_seconds, program

sys.path.insert(0, str(REPOSITORY / "tools"))
from snapshot import clone, git, release

FIRST, SECOND = "v1000.0.0", "v1001.0.0"
#: Seconds that a user should not wait longer than, on two cores.
AIMS = {"copier copy": 1.0, "copier update": 2.5}


def measure(settings: Settings) -> list[Result]:
    """Empty where there is no template."""
    if not (REPOSITORY / "copier.yml").is_file():
        return []
    source = settings.work / "template-source"
    clone(REPOSITORY, source)
    release(source, FIRST)
    with (source / "template/scripts/check").open("a", encoding="utf-8") as stream:
        stream.write("# a line more\n")
    release(source, SECOND)
    numbers = iter(range(10_000))
    project = _copy(source, settings.work / "project", "skeleton")[0]
    git(project, "init", "--quiet")
    release(project, "made")

    def copy() -> Seconds:
        return _copy(source, settings.work / f"copy-{next(numbers)}", "skeleton")[1]

    def update() -> Seconds:
        again = settings.work / f"update-{next(numbers)}"
        shutil.copytree(project, again)
        seconds = process_seconds([program("copier"), "update", "--quiet", "--defaults"], again)
        assert "a line more" in (again / "scripts/check").read_text(encoding="utf-8"), "copier updated nothing"
        return seconds

    def check_update() -> Seconds:
        return process_seconds([program("copier"), "check-update"], project)

    def all_points() -> Seconds:
        questions = yaml.safe_load((REPOSITORY / "copier.yml").read_text(encoding="utf-8"))
        points = questions["starting_point"]["choices"].values()
        times = [_copy(source, settings.work / f"point-{next(numbers)}", point)[1] for point in points]
        return Seconds(*(sum(parts) for parts in zip(*times, strict=True)))

    works: dict[str, Callable[[], Seconds]] = {
        "copier copy": copy,
        "copier update": update,
        "copier check-update": check_update,
        "copier copy of all starting points": all_points,
    }
    return [_result(name, work, settings) for name, work in works.items()]


def _copy(source: Path, target: Path, point: str) -> tuple[Path, Seconds]:
    answers = ["-d", "model_name=my_model", "-d", f"starting_point={point}"]
    command = [program("copier"), "copy", "--quiet", "--defaults", "--vcs-ref", FIRST, *answers]
    seconds = process_seconds([*command, str(source), str(target)], target.parent)
    assert (target / "my_model").is_dir(), "copier made no my_model/my_model"
    return target, seconds


def _result(name: str, work: Callable[[], Seconds], settings: Settings) -> Result:
    work()
    beside = [sys.executable, "-c", "import copier"]
    pairs = alternate(work, lambda: process_seconds(beside, settings.work), settings.repeats(7, 2))
    best, aim = fastest(pairs.a), AIMS.get(name)
    return Result(
        name=name,
        ours=str(best),
        compared_with=f"import copier: {fastest(pairs.b)}",
        ratio=pairs.ratio,
        processor_ratio=pairs.processor_ratio,
        aim="" if aim is None else f"≤ {aim:g} s",
        met=None if aim is None else best.wall <= aim,
        details=pairs.details("ours", "beside"),
    )
