"""``copier copy`` of the template, from a git repository that holds the working tree as it is now."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from measurements.common import REPOSITORY, Result, Seconds, Settings, alternate, fastest, process_seconds, program, run


def measure(settings: Settings) -> list[Result]:
    """Empty where there is no template."""
    if not (REPOSITORY / "copier.yml").is_file():
        return []
    source = _snapshot(settings.work / "template-source")
    numbers = iter(range(1000))

    def copy() -> Seconds:
        target = settings.work / f"copy-{next(numbers)}"
        command = [program("copier"), "copy", "--quiet", "--defaults", "--vcs-ref", "HEAD", "-d", "model_name=my_model"]
        seconds = process_seconds([*command, str(source), str(target)], settings.work)
        assert (target / "my_model").is_dir(), "copier made no my_model/my_model"
        return seconds

    copy()
    pairs = alternate(
        copy,
        lambda: process_seconds([sys.executable, "-c", "import copier"], settings.work),
        settings.repeats(7, 2),
    )
    return [
        Result(
            name="copier copy",
            ours=str(fastest(pairs.a)),
            compared_with=f"import copier: {fastest(pairs.b)}",
            ratio=pairs.ratio,
            processor_ratio=pairs.processor_ratio,
            details=pairs.details("ours", "beside"),
        )
    ]


def _snapshot(target: Path) -> Path:
    """Tracked and new files, committed: ``git clone`` alone would leave out what is not committed yet."""
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], REPOSITORY)
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "commit.gpgsign=false"]
    run(["git", "init", "--quiet"], target)
    run(["git", "add", "--all"], target)
    run(["git", *identity, "commit", "--quiet", "-m", "snapshot"], target)
    return target
