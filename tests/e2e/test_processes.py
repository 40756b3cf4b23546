"""Two processes on one CPU: the same curve as one, the same metrics, exact to continue, and nobody waits for ever."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import killed
import pytest

#: star_easy with a batch of 8 a step, and shares of unequal length in the validation (11 examples).
WORDS = (
    "model.d_model=32",
    "model.num_layers=1",
    "model.num_heads=1",
    "model.d_ff=64",
    "trainer.accelerator=cpu",
    "trainer.val_check_interval=4",
    "trainer.log_every_n_steps=1",
    "lr_scheduler.num_warmup_steps=3",
    "checkpoint_every_n_steps=3",
    "eval_batch_size=4",
)
STAR = ("experiment=star_easy_arlm", "dataset.sizes={train: 100, val: 11, test: 7}")
STRATEGIES = ("ddp", "fsdp")
TORCHRUN = ["./torchrun", "--nproc-per-node=2", "--standalone", "-m", "xlm_runtime.cli"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Path:
    """A directory from which ARLM is found, and in which the runs of this file stand."""
    directory = tmp_path_factory.mktemp("processes")
    for name in ("xlm", "torchrun"):
        (directory / name).symlink_to(programs / name)
    killed.prepare(directory)
    killed.register(directory, "arlm", "ilm", "mdlm")
    return directory


def train(place: Path, name: str, *words: str, launcher: Sequence[str] = ()) -> str:
    """Train and return what was printed; a run that waits for ever fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XLM_")}
    environment |= {"XLM_CACHE_DIR": str(place / "cache"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    data = () if any(word.startswith("experiment=text") for word in words) else STAR
    command = [*(launcher or [place / "xlm"]), *data, *WORDS, f"job_name={name}", *words]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def together(strategy: str, *words: str) -> list[str]:
    """The words of a run of two processes with the batch of one."""
    return [f"trainer={strategy}", "trainer.devices=2", "batch_size=4", *words]


def rows(place: Path, name: str) -> list[dict[str, float]]:
    with (place / "runs" / name / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]


@pytest.fixture(scope="module")
def alone(place: Path) -> list[dict[str, float]]:
    """Eight steps of one process."""
    train(place, "alone", "batch_size=8", "trainer.max_steps=8")
    return rows(place, "alone")


def assert_close(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_curve_is_that_of_one_process(place: Path, alone: list[dict[str, float]], strategy: str) -> None:
    train(place, strategy, *together(strategy, "trainer.max_steps=8"))
    assert_close(rows(place, strategy), alone)
    assert {"val/loss", "val/exact_match", "val/token_accuracy"} <= rows(place, strategy)[3].keys()
    for step in (4, 8):  # every example once, in the split's order
        one, other = (place / "runs" / name / f"predictions/val/step={step}.jsonl" for name in ("alone", strategy))
        prompts = [file.read_text(encoding="utf-8").count("\n") for file in (one, other)]
        assert prompts == [11, 11]


def test_accumulated_gradients_are_those_of_one_batch(place: Path, alone: list[dict[str, float]]) -> None:
    train(
        place,
        "accumulated",
        "batch_size=2",
        "global_batch_size=8",
        "trainer.max_steps=8",
        "trainer.val_check_interval=16",
    )
    assert_close(rows(place, "accumulated"), alone)


@pytest.mark.parametrize(("strategy", "data"), [("ddp", "stream"), ("fsdp", "star")])
def test_two_processes_continue_exactly(place: Path, strategy: str, data: str) -> None:
    words = together(strategy, "model.dropout=0.1", *(killed.DATA["stream"] if data == "stream" else ()))
    train(place, f"{strategy}-whole", *words, "trainer.max_steps=8")
    train(place, f"{strategy}-halves", *words, "trainer.max_steps=5")
    train(place, f"{strategy}-halves", *words, "trainer.max_steps=8")
    assert killed.compare(place / f"runs/{strategy}-whole", place / f"runs/{strategy}-halves") == []


def test_one_process_goes_on_where_two_stopped(place: Path, alone: list[dict[str, float]]) -> None:
    train(place, "fewer", *together("ddp", "trainer.max_steps=5"))
    train(place, "fewer", "batch_size=8", "trainer.max_steps=8")
    assert_close(rows(place, "fewer"), alone)


def test_torchrun_starts_the_processes_too(place: Path, alone: list[dict[str, float]]) -> None:
    out = train(place, "torchrun", *together("ddp", "trainer.max_steps=8"), launcher=TORCHRUN)
    assert out.count("finished at step 8") == 1
    assert_close(rows(place, "torchrun"), alone)


def test_processes_of_torchrun_do_not_train_apart(place: Path) -> None:
    with pytest.raises(AssertionError, match=r"Error: torchrun started 2 process.* is 1 x 1 = 1") as caught:
        train(place, "apart", "trainer.max_steps=2", launcher=TORCHRUN)
    assert str(caught.value).count("Error: torchrun started") == 1
    assert not list((place / "runs").glob("apart/checkpoints/*"))


SLOW = """\
import time

import lightning.pytorch as pl


class Slow(pl.Callback):
    def on_train_batch_start(self, *args):
        time.sleep(1.3)
"""


def test_every_process_stops_at_the_same_step_and_soon_where_steps_are_long(place: Path) -> None:
    (place / "slow_steps.py").write_text(SLOW, encoding="utf-8")
    words = [
        *STAR,
        *WORDS,
        *together("ddp"),
        "job_name=stopped",
        "trainer.max_steps=100000",
        "trainer.val_check_interval=100000",
        "+callbacks.slow={_target_: slow_steps.Slow}",
    ]
    command = [place / "xlm", *words, "callbacks.progress.seconds=0"]
    environment = os.environ | {"PYTHONPATH": str(place)}
    with subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        for line in run.stdout:
            if line.startswith("step 3 "):
                break
        run.send_signal(signal.SIGTERM)
        run.stdout.read()
        assert run.wait(timeout=120) == 0
        [step] = re.findall(r"Stopped by SIGTERM at step (\d+)", run.stderr.read())
        assert int(step) < 10


LOST = """\
import os
import signal
import time

import lightning.pytorch as pl


class Lost(pl.Callback):
    def __init__(self, rank, step, seconds):
        self.rank, self.step, self.seconds = rank, step, seconds
        if step < 0 and int(os.environ.get("LOCAL_RANK", 0)) == rank:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == self.step:
            if trainer.global_rank == self.rank:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.seconds)
"""


ALONE = "Another process of this run has ended, and the others cannot go on without it"
WAITING = "Another process of this run has ended, and the others are ended with it"


@pytest.mark.parametrize(
    ("rank", "step", "seconds", "words"),
    [
        (1, 7, 0, ALONE),
        (1, 7, 90, WAITING),  # the other one hangs, as NCCL does
        (1, -1, 0, WAITING),
        (0, 7, 0, ALONE),
        (0, 7, 90, WAITING),
    ],
)
def test_a_process_that_is_killed_ends_the_others(
    place: Path, rank: int, step: int, seconds: int, words: str, tmp_path: Path
) -> None:
    (place / "lost_process.py").write_text(LOST, encoding="utf-8")
    name = f"lost-{rank}-{step}-{seconds}"
    command = [place / "xlm", *STAR, *WORDS, *together("ddp"), f"job_name={name}", "trainer.max_steps=20"]
    command += [f"+callbacks.lost={{_target_: lost_process.Lost, rank: {rank}, step: {step}, seconds: {seconds}}}"]
    environment = os.environ | {"PYTHONPATH": str(place), "XLM_CACHE_DIR": str(place / "cache")}
    environment |= {"TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=80, check=False)
    assert done.returncode == (2 if rank else -signal.SIGKILL), done.stderr
    assert done.stderr.count("Error") == 1 and words in done.stderr, done.stderr
    last = place / "runs" / name / "checkpoints/last.ckpt"
    assert last.is_file() == (step > 0)
    found = f"The same command continues from runs/{name}/checkpoints/last.ckpt." if step > 0 else "No checkpoint"
    assert found in done.stderr
    assert not list(tmp_path.glob("xlm-*"))


def test_an_error_that_all_processes_have_is_said_once(place: Path) -> None:
    with pytest.raises(AssertionError, match="Not finite at step") as caught:
        train(place, "not-finite", *together("ddp"), "trainer.max_steps=8", "optimizer.lr=1e30")
    assert str(caught.value).count("Error: ") == 1


def test_a_sweep_says_each_error_once(place: Path) -> None:
    words = [*together("ddp"), "optimizer.lr=1e-3,1e30,1e31", "trainer.max_steps=4"]
    with pytest.raises(AssertionError, match="Not finite at step") as caught:
        train(place, "swept", *words, launcher=[str(place / "xlm"), "-m"])
    assert str(caught.value).count("Error: Not finite at step") == 2
    assert str(caught.value).count("Error: 2 job(s) of this sweep failed") == 1
    assert str(caught.value).count("Error: ") == 3


def test_a_signal_before_the_first_step_ends_all_processes(place: Path) -> None:
    # No quick start here: the second process would be one of the server's, which nobody could kill.
    command = [sys.executable, "-m", "xlm_runtime.cli", *STAR, *WORDS, *together("ddp"), "job_name=unbegun"]
    environment = os.environ | {"XLM_CACHE_DIR": str(place / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while not started("job_name=unbegun", "hydra.job.name=train_ddp_process_1"):
            assert run.poll() is None
            time.sleep(0.1)
        time.sleep(0.2)  # the first process is told of the other one's number
        run.send_signal(signal.SIGTERM)  # the other one imports torch for seconds, and the first one waits for it
        assert run.wait(timeout=60) == 128 + signal.SIGTERM
        until = time.monotonic() + 5
        while (left := started("job_name=unbegun")) and time.monotonic() < until:
            time.sleep(0.1)
        for number in left:
            os.kill(number, signal.SIGKILL)
        assert left == []
        words = "Stopped at once by SIGTERM. No checkpoint to continue from was saved yet."
        assert run.stderr.read().strip() == words


def started(*words: str) -> list[int]:
    """The numbers of the processes that were started with all these words, and have not ended."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(
            OSError
        ):  # it has ended meanwhile; of one that has ended and is not waited for, no words are left
            if set(words) <= set(file.read_text(encoding="utf-8", errors="replace").split("\0")):
                found.append(int(file.parent.name))
    return found


@pytest.mark.parametrize("model", ["ilm", "mdlm"])
def test_a_validation_that_draws_is_that_of_one_process(place: Path, model: str) -> None:
    words = [f"experiment=star_easy_{model}", "optimizer.lr=0.0", "trainer.max_steps=1", "trainer.val_check_interval=1"]
    train(place, f"{model}-alone", *words, "batch_size=8")
    train(place, f"{model}-together", *words, *together("ddp"))
    one, other = (
        {k: v for k, v in rows(place, f"{model}-{name}")[0].items() if k.startswith("val/")}
        for name in ("alone", "together")
    )
    assert "val/loss" in one and one == pytest.approx(other, abs=1e-5)


def test_fewer_examples_than_a_step_takes(place: Path) -> None:
    with pytest.raises(AssertionError, match="fewer than the 200 of one step of 2 processes"):
        train(place, "few", "trainer=ddp", "trainer.devices=2", "batch_size=100")
