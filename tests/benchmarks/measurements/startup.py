"""Wall times of whole processes: ``xlm --help``, and from the command to the first finished step of training."""

from __future__ import annotations

import sys
import time

from measurements.common import (
    Result,
    Settings,
    alternate,
    process_seconds,
    program,
    run,
    time_words,
)

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
    return [
        Result(
            name="xlm --help",
            ours=time_words(pairs.median_a),
            compared_with=f"python -c pass: {time_words(pairs.median_b)}",
            ratio=pairs.ratio,
            aim=f"< {HELP_AIM} s",
            met=pairs.median_a < HELP_AIM,
            prior="4.6 s",
            details=pairs.details(),
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
            ours=time_words(pairs.median_a),
            compared_with=f"import torch, lightning: {time_words(pairs.median_b)}",
            ratio=pairs.ratio,
            prior="4.6-6.5 s",
            details=pairs.details(),
        )
    ]


def _first_step(settings: Settings, number: int) -> float:
    stamp = settings.work / f"first-step-{number}"
    start = time.time()
    run(
        [
            program("xlm"),
            "job_type=train",
            f"job_name=first-step-{number}",
            "experiment=star_easy_arlm",
            "trainer.max_steps=1",
            "+callbacks.first_step._target_=measurements.first_step.FirstStep",
            f"+callbacks.first_step.file={stamp}",
        ],
        settings.work,
    )
    return float(stamp.read_text(encoding="utf-8")) - start
