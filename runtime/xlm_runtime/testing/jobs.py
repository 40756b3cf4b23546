"""The commands of a model repository, as tests to inherit::

    from xlm_runtime.testing import JobsContract

    class TestJobs(JobsContract):
        model_name = "my_model"

Each command is a process of its own, on the processor, in pytest's current directory.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from xlm_runtime.predictions import Row, exact_match, read_rows


class JobsContract:
    """One batch is learnt by heart with ``debug=overfit``, then evaluated and generated.

    Inherit it, set ``model_name``.

    Attributes:
        model_name: as registered.
        experiment: the experiment that is run; None for ``star_easy_<model_name>``.
        overrides: further words of the command line of training.
    """

    model_name: ClassVar[str]
    experiment: ClassVar[str | None] = None
    overrides: ClassVar[tuple[str, ...]] = ("batch_size=4",)

    @pytest.fixture(scope="class")
    @classmethod
    def run_dir(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The directory of a finished run."""
        directory = tmp_path_factory.mktemp("run")
        experiment = cls.experiment or f"star_easy_{cls.model_name}"
        cache = f"cache_dir={tmp_path_factory.mktemp('cache')}"
        xlm(directory, "job_type=train", f"experiment={experiment}", "debug=overfit", cache, *cls.overrides)
        return directory

    def test_the_loss_falls(self, run_dir: Path) -> None:
        losses = _column(run_dir, "train/loss")
        assert losses[-1] < losses[0] / 2

    def test_one_batch_is_learnt_by_heart(self, run_dir: Path) -> None:
        assert max(_column(run_dir, "val/exact_match")) == 1.0

    def test_eval_and_generate_agree(self, run_dir: Path) -> None:
        printed = xlm(run_dir, "job_type=eval")
        assert "exact_match" in printed
        metrics = json.loads((run_dir / "metrics-test.json").read_text(encoding="utf-8"))
        assert metrics["test/exact_match"] == 1.0
        evaluated = _only_rows(run_dir, "step=*[0-9]")

        printed = xlm(run_dir, "job_type=generate")
        assert "exact match 1.000" in printed
        generated = _only_rows(run_dir, "step=*.generated")
        assert exact_match(generated) == 1.0
        # What generate says besides, such as seconds, evaluation does not.
        assert [(row["prompt"], row["text"]) for row in generated] == [
            (row["prompt"], row["text"]) for row in evaluated
        ]


def xlm(run_dir: Path, *words: str) -> str:
    """What ``xlm`` prints for ``words`` about the run in ``run_dir``; it must succeed."""
    command = [sys.executable, "-m", "xlm_runtime.cli", *words, f"run_dir={run_dir}", "trainer.accelerator=cpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _column(run_dir: Path, name: str) -> list[float]:
    with (run_dir / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


def _only_rows(run_dir: Path, names: str) -> list[Row]:
    (file,) = run_dir.glob(f"predictions/test/{names}.jsonl")
    return read_rows(file)
