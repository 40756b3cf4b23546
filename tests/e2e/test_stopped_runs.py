"""Runs that are stopped or killed: nothing is lost, and the last words say how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import killed
import pytest
import torch
from outcomes import Run
from tiny_models import PARTS, write

EXPERIMENT = "experiment=star_easy_my_model"
WORDS = [EXPERIMENT, "job_name=demo"]
#: Neither a checkpoint nor a validation comes in the way of a run that is stopped after a few steps.
ENDLESS = [
    "trainer.max_steps=1000000",
    "trainer.val_check_interval=1000000",
    "checkpoint_every_n_steps=1000000",
    "callbacks.progress.seconds=0",
]
LAST = "runs/demo/checkpoints/last.ckpt"


def step_of(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["global_step"])


def started(program: str, *words: str) -> subprocess.Popen[str]:
    """A run as a process of its own."""
    return subprocess.Popen([program, *WORDS, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop(program: str, number: int, *words: str) -> tuple[int, str]:
    """Send a signal once step 3 is printed; the exit status and what went to stderr."""
    with started(program, *ENDLESS, *words) as run:
        assert run.stdout is not None and run.stderr is not None
        for line in run.stdout:
            if line.startswith("step 3 "):
                break
        run.send_signal(number)
        run.stdout.read()
        return run.wait(), run.stderr.read()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 0), ("SIGUSR1", 0)])
def test_a_signal_saves_and_says_how_to_continue(
    project: Path, xlm: Run, program: str, name: str, status: int, workers: int
) -> None:
    code, last_words = stop(program, getattr(signal, name), f"num_workers={workers}")
    step = step_of(project / LAST)
    assert code == status and step >= 3
    expected = f"Stopped by {name} at step {step}; saved. The same command continues from {LAST}."
    if name == "SIGUSR1":
        expected += " This is no SLURM job, which could be requeued."
    assert last_words.strip().splitlines()[-1] == expected
    out = xlm(EXPERIMENT, "job_name=demo", f"num_workers={workers}", f"trainer.max_steps={step + 1}").done()
    assert f"continued from step {step}" in out and f"finished at step {step + 1}" in out


HANGS = """\
    def loss_fn(self, batch):
        import ctypes
        type(self).calls = getattr(type(self), "calls", 0) + self.model.training
        if type(self).calls == 4:
            print("hangs", flush=True)
            lock = ctypes.create_string_buffer(64)
            for _ in range(2):
                ctypes.CDLL(None).pthread_mutex_lock(lock)  # as one of several processes waits: no Python runs
"""


@pytest.mark.parametrize(("name", "status", "workers"), [("SIGTERM", 143, 2), ("SIGINT", 130, 0)])
def test_a_second_signal_ends_a_run_that_hangs(
    project: Path, program: str, name: str, status: int, workers: int
) -> None:
    write(project / "my_model/my_model/parts.py", PARTS.replace("    def loss_fn(self, batch):\n", HANGS))
    with started(program, *ENDLESS, f"num_workers={workers}", "checkpoint_every_n_steps=2") as run:
        assert run.stdout is not None and run.stderr is not None
        assert "hangs\n" in iter(run.stdout.readline, "")
        run.send_signal(getattr(signal, name))
        while run.poll() is None:
            time.sleep(1.5)  # sooner, it would be the same request
            run.send_signal(getattr(signal, name))
        assert run.returncode == status
        expected = f"Stopped at once by a second signal, {name}. The same command continues from {LAST}."
        assert run.stderr.read().strip().splitlines()[-1] == expected


@pytest.fixture()
def requeued(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a stand-in of SLURM's scontrol writes what it is asked for, within a job."""
    scontrol = write(project / "bin/scontrol", '#!/bin/sh\necho "$@" > requeued\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    return project / "requeued"


def test_slurm_is_asked_to_run_the_job_again(requeued: Path, program: str) -> None:
    code, last_words = stop(program, signal.SIGUSR1)
    assert code == 0 and "SLURM job 17_3 is requeued." in last_words
    assert requeued.read_text(encoding="utf-8") == "requeue 17_3\n"


WAITS = """\
import time

import lightning.pytorch as pl


class Waits(pl.Callback):
    def METHOD(self, *args):
        print("waits", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("method", ["on_fit_start", "__init__"])
def test_slurm_is_asked_before_the_first_step_too(
    requeued: Path, project: Path, program: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    last_words = waits_for_a_signal(
        project, program, monkeypatch, signal.SIGUSR1, method, "+callbacks.waits={_target_: waits.Waits}"
    )
    assert last_words == (
        "Stopped at once by SIGUSR1. No checkpoint to continue from was saved yet. SLURM job 17_3 is requeued."
    )
    assert requeued.read_text(encoding="utf-8") == "requeue 17_3\n"


def test_preparing_data_ends_at_once(project: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("job_type=prepare_data", "~tokenizer", "+tokenizer={_target_: waits.Waits}")
    last_words = waits_for_a_signal(project, program, monkeypatch, signal.SIGTERM, "__init__", *words)
    assert last_words == (
        "Stopped at once by SIGTERM. What is prepared whole is kept; the same command prepares the rest."
    )


def waits_for_a_signal(
    project: Path, program: str, monkeypatch: pytest.MonkeyPatch, number: int, method: str, *words: str
) -> str:
    """What a process says that gets a signal while it waits in a method of ``waits.Waits``."""
    write(project / "waits.py", WAITS.replace("METHOD", method))
    monkeypatch.setenv("PYTHONPATH", str(project))
    with started(program, *words) as run:
        assert run.stdout is not None and run.stderr is not None
        assert "waits\n" in iter(run.stdout.readline, "")
        run.send_signal(number)
        assert run.wait() == 128 + number
        return run.stderr.read().strip()


def test_a_signal_during_a_validation_stops_after_it(project: Path, program: str) -> None:
    slow = "    def predict(self, batch):\n        import time; print('predicting', flush=True); time.sleep(2)\n"
    write(project / "my_model/my_model/parts.py", PARTS.replace("    def predict(self, batch):\n", slow))
    with started(program, "trainer.max_steps=8") as run:
        assert run.stdout is not None and run.stderr is not None
        for line in run.stdout:
            if line == "predicting\n":
                break
        run.send_signal(signal.SIGTERM)
        assert "step 2  val/exact_match" in run.stdout.read()
        assert run.wait() == 0 and "Stopped by SIGTERM at step 2" in run.stderr.read()
    assert (project / "runs/demo/predictions/val/step=2.jsonl").is_file()


@pytest.mark.parametrize(
    ("data", "workers", "moments"),
    [("star", 0, [0.0, 0.2]), ("star", 2, [0.1]), ("stream", 0, [0.1]), ("stream", 2, [0.0, 0.2])],
)
def test_a_run_that_is_killed_ends_like_one_that_is_not(
    home: Path, program: str, monkeypatch: pytest.MonkeyPatch, data: str, workers: int, moments: list[float]
) -> None:
    monkeypatch.setattr(killed, "COMMAND", (program, "job_type=train"))
    killed.prepare(home)
    words = [*killed.DATA[data], f"num_workers={workers}", "trainer.max_steps=60"]
    killed.to_the_end(home, "whole", words)
    for seconds in moments:
        killed.kill_once(home, "killed", words, seconds, starting=False)
    out = killed.to_the_end(home, "killed", words)
    assert "continued from step" in out or "finished" in out
    assert killed.compare(home / "runs/whole", home / "runs/killed") == []


KILLS = """\
import os
import signal

import lightning.pytorch as pl


class Kills(pl.Callback):
    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == 25:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_on_texts_that_is_killed_ends_like_one_that_is_not(home: Path, xlm_process: Run) -> None:
    killed.prepare(home)
    write(home / "kills.py", KILLS)
    words = [*killed.WORDS, *killed.DATA["text"], "num_workers=2", "trainer.max_steps=45"]
    xlm_process(*words, "job_name=whole").done()
    kills = "+callbacks.kills={_target_: kills.Kills}"
    assert xlm_process(*words, "job_name=killed", kills, PYTHONPATH=str(home)).code == -signal.SIGKILL
    assert "continued from step 21" in xlm_process(*words, "job_name=killed").done()
    assert killed.compare(home / "runs/whole", home / "runs/killed") == []


def test_what_a_killed_run_had_begun_to_write_is_removed(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "job_name=demo").done()
    rest = write(project / "runs/demo/checkpoints/.last.ckpt.abc.tmp", "half")
    xlm(EXPERIMENT, "job_name=demo", "trainer.max_steps=4").done()
    assert not rest.exists()


def test_a_finished_run_says_so_and_does_nothing(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "job_name=demo").done()
    before = {path: path.stat().st_mtime_ns for path in (project / "runs").rglob("*")}
    out = xlm(EXPERIMENT, "job_name=demo").done()
    assert "runs/demo is finished: step 2, val/exact_match" in out and "Nothing was done" in out
    assert {path: path.stat().st_mtime_ns for path in (project / "runs").rglob("*")} == before
