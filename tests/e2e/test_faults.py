"""Runs whose disk, memory or numbers give out: nothing is lost, and one message says what to do."""

from __future__ import annotations

import csv
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from outcomes import Run
from tiny_models import PARTS, write

EXPERIMENT = "experiment=star_easy_my_model"
WORDS = [EXPERIMENT, "job_name=demo"]
#: Neither a checkpoint nor a validation comes in the way.
ENDLESS = ["trainer.max_steps=1000000", "trainer.val_check_interval=1000000", "checkpoint_every_n_steps=1000000"]
LAST = "runs/demo/checkpoints/last.ckpt"


def test_a_damaged_checkpoint_is_passed_over(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "job_name=demo", "checkpoint_every_n_steps=1").done()
    (project / LAST).write_bytes((project / LAST).read_bytes()[:-1000])
    out = xlm(EXPERIMENT, "job_name=demo", "checkpoint_every_n_steps=1", "trainer.max_steps=4").done()
    assert f"{LAST} cannot be read" in out and "previous.ckpt" in out
    assert "continued from step 1" in out and "finished at step 4" in out


def _little_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))  # a checkpoint of the tiny model has more


def test_a_full_disk_leaves_the_last_good_checkpoint(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "job_name=demo").done()
    before = (project / LAST).read_bytes()
    assert len(before) > 9000
    command = [sys.executable, "-m", "xlm_runtime.cli", *WORDS]
    words = [*command, "trainer.max_steps=6", "logger=default", "logger.tensorboard=null"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=_little_room)
    assert done.returncode == 2, done.stderr
    for expected in (
        "runs/demo/checkpoints/best.ckpt",
        "cannot be written: File too large",
        "Make room",
        "continues from it",
    ):
        assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert (project / LAST).read_bytes() == before and not list((project / "runs/demo/checkpoints").glob(".*"))
    assert "finished at step 6" in xlm(EXPERIMENT, "job_name=demo", "trainer.max_steps=6").done()


def test_a_disk_that_is_full_at_the_first_save(project: Path) -> None:
    command = [sys.executable, "-m", "xlm_runtime.cli", *WORDS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_little_room)
    assert done.returncode == 2 and "nothing had been saved before, and the same command begins again" in done.stderr


def test_a_full_disk_is_told_whatever_is_written(project: Path, xlm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}")
        if "metrics.csv" in name:
            raise OSError(errno.ENOSPC, "No space left on device")

    xlm(EXPERIMENT, "job_name=demo", "logger=default", "logger.tensorboard=null").done()
    before = (project / LAST).read_bytes()
    words = (EXPERIMENT, "job_name=demo", "logger=default", "logger.tensorboard=null", "trainer.max_steps=6")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        xlm(*words).refused("runs/demo/metrics.csv cannot be written: No space left on device. Make room there")
    assert (project / LAST).read_bytes() == before
    assert "finished at step 6" in xlm(*words).done()


POISON = """\
    def loss_fn(self, batch):
        type(self).calls = getattr(type(self), "calls", 0) + self.model.training
        loss = F.cross_entropy(self.model(batch["ids"]).flatten(0, 1), batch["ids"].flatten())
        if self.model.training and type(self).calls == 5:
            loss = loss * torch.tensor(float("nan"))
        return {"loss": loss}

    def other("""


@pytest.fixture
def poisoned(project: Path) -> Path:
    """The fifth batch has a loss that is not a number."""
    write(project / "my_model/my_model/parts.py", PARTS.replace("    def loss_fn(", POISON))
    return project


EIGHT = ["job_name=demo", "trainer.max_steps=8", "trainer.val_check_interval=2", "checkpoint_every_n_steps=1"]


def test_a_loss_that_is_not_a_number_stops_the_run(poisoned: Path, xlm: Run) -> None:
    result = xlm(EXPERIMENT, *EIGHT)
    result.refused("step 5", "epoch 2, batch 0", "training examples", "the loss", "model.head.weight", "nonfinite=skip")
    for name, step in (("last", 4), ("previous", 3), ("best", 4)):
        contents = torch.load(poisoned / f"runs/demo/checkpoints/{name}.ckpt", weights_only=True)
        assert contents["global_step"] == step
        assert all(bool(value.isfinite().all()) for value in contents["state_dict"].values())


def test_a_step_that_is_not_finite_can_be_skipped(poisoned: Path, xlm: Run) -> None:
    out = xlm(EXPERIMENT, *EIGHT, "harness.nonfinite=skip").done()
    assert "skipped step 5 (epoch 2, batch 0" in out and "1 skipped so far" in out and "finished at step 8" in out
    contents = torch.load(poisoned / LAST, weights_only=True)
    assert all(bool(value.isfinite().all()) for value in contents["state_dict"].values())
    with (poisoned / "runs/demo/metrics.csv").open(encoding="utf-8", newline="") as stream:
        losses = [float(row["train/loss"]) for row in csv.DictReader(stream) if row["train/loss"]]
    assert len(losses) == 8 and losses[-1] == losses[-1]


def test_skipping_every_step_leads_nowhere(project: Path, xlm: Run) -> None:
    write(project / "my_model/my_model/parts.py", PARTS.replace("* self.scale", "* float('nan')"))
    result = xlm(EXPERIMENT, "job_name=demo", "harness.nonfinite=skip", *ENDLESS, "trainer.log_every_n_steps=10")
    result.refused("All of the last 9 steps")


def test_an_unknown_way_with_what_is_not_finite(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "harness.nonfinite=ignore").refused("harness.nonfinite is 'ignore'", "stop, skip")


def test_weights_that_become_infinite_are_not_saved(project: Path, xlm: Run) -> None:
    wild = """

class Wild(torch.optim.SGD):
    def step(self, closure=None):
        closure()
        self.param_groups[0]["params"][0].data.fill_(float("inf"))
"""
    write(project / "my_model/my_model/parts.py", PARTS + wild)
    words = ["~optimizer", "+optimizer={_target_: my_model.parts.Wild, lr: 0.1}", "checkpoint_every_n_steps=1"]
    result = xlm(EXPERIMENT, *words)
    result.refused("Not finite after step 1", "model.embedding.weight", "optimizer.lr")
    assert not list((project / "runs").rglob("*.ckpt"))


def test_what_does_not_fit_into_memory(project: Path, xlm: Run) -> None:
    hungry = "    def loss_fn(self, batch):\n        torch.empty(10**15)\n"
    write(project / "my_model/my_model/parts.py", PARTS.replace("    def loss_fn(self, batch):\n", hungry))
    xlm(EXPERIMENT).refused("Out of memory: batch_size is 4", "Lower batch_size", "global_batch_size")


@pytest.mark.parametrize("job", ["eval", "generate"])
def test_what_does_not_fit_into_memory_in_evaluation(project: Path, xlm: Run, xlm_process: Run, job: str) -> None:
    xlm(EXPERIMENT, "job_name=demo").done()
    hungry = "    def predict(self, batch):\n        torch.empty(10**15)\n"
    write(project / "my_model/my_model/parts.py", PARTS.replace("    def predict(self, batch):\n", hungry))
    result = xlm_process(f"job_type={job}", "job_name=demo")
    result.refused("Out of memory: eval_batch_size is 4. Lower eval_batch_size.")
