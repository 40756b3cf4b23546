"""Wall times of whole processes: ``xlm --help``, and from the command to the first finished step of training."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from measurements.common import Result, Seconds, Settings, alternate, fastest, process_seconds, program, run

HELP_AIM = 0.5  # seconds, of the issue


def measure_help(settings: Settings) -> list[Result]:
    """``xlm --help`` beside a Python that does nothing."""
    xlm, nothing = [program("xlm"), "--help"], [sys.executable, "-c", "pass"]
    run(xlm, settings.work)  # the first call writes byte code
    pairs = alternate(
        lambda: process_seconds(xlm, settings.work),
        lambda: process_seconds(nothing, settings.work),
        settings.repeats(25, 5),
    )
    ours = fastest(pairs.a)
    return [
        Result(
            name="xlm --help",
            ours=str(ours),
            compared_with=f"python -c pass: {fastest(pairs.b)}",
            ratio=pairs.ratio,
            processor_ratio=pairs.processor_ratio,
            aim=f"< {HELP_AIM} s",
            met=ours.wall < HELP_AIM,
            prior="4.6 s",
            details=pairs.details("ours", "beside"),
        )
    ]


def measure_first_step(settings: Settings) -> list[Result]:
    """From the start of ``xlm job_type=train`` to the end of its first optimizer step, the dataset made before,
    beside a process that only imports what no such program can do without.
    """
    imports = [sys.executable, "-c", "import torch, lightning.pytorch"]
    _first_step(settings, 0)  # makes the dataset, writes byte code
    numbers = iter(range(1, 1000))
    pairs = alternate(
        lambda: _first_step(settings, next(numbers)),
        lambda: process_seconds(imports, settings.work),
        settings.repeats(9, 3),
    )
    return [
        Result(
            name="process start to first finished step",
            ours=str(fastest(pairs.a)),
            compared_with=f"import torch, lightning: {fastest(pairs.b)}",
            ratio=pairs.ratio,
            processor_ratio=pairs.processor_ratio,
            prior="4.6-6.5 s",
            details=pairs.details("ours", "beside"),
        )
    ]


def _first_step(settings: Settings, number: int) -> Seconds:
    words = ["experiment=star_easy_arlm", "trainer.max_steps=1"]
    return seconds_to_first_step(settings, [*words, f"job_name=first-step-{number}"])


def seconds_to_first_step(settings: Settings, words: Sequence[str]) -> Seconds:
    """From the start of ``xlm job_type=train`` to the end of the first step that this process makes."""
    stamp = settings.work / "first-step"
    stamp.unlink(missing_ok=True)
    callback = f"+callbacks.first_step={{_target_: measurements.first_step.FirstStep, file: {stamp}}}"
    start = time.time()
    run([program("xlm"), "job_type=train", *words, callback], settings.work)
    finished, processor = json.loads(stamp.read_text(encoding="utf-8"))
    return Seconds(finished - start, processor)
