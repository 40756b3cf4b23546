"""A run that was stopped, wherever, goes on as if it had not been: weights, logs and rows are the same."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import tiny_parts as tiny
import torch

from xlm_runtime import checkpoint, resume
from xlm_runtime import runs as run_directories
from xlm_runtime.errors import CheckpointError
from xlm_runtime.jobs import train


def listing(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def steps(cache: Path, run_dir: Path, count: int, *overrides: str) -> None:
    """The train job, up to step ``count``, in this process: 3 batches an epoch, a checkpoint every 2 steps."""
    words = [
        f"run_dir={run_dir}",
        f"trainer.max_steps={count}",
        "trainer.log_every_n_steps=1",
        "trainer.val_check_interval=2",
        "checkpoint_every_n_steps=2",
        "lr_scheduler.num_warmup_steps=3",
        "logger.tensorboard=null",
        "callbacks.progress=null",
    ]
    train.run(tiny.arlm_config(cache, *words, *overrides))


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    contents = checkpoint.read(run_dir / "checkpoints" / "last.ckpt")
    return {**contents["state_dict"], "step": torch.tensor(contents["global_step"])}


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


class Runs:
    """One run in one go, the same in two, and in three."""

    def __init__(self, cache: Path, directory: Path, *overrides: str) -> None:
        self.whole, self.halves, self.again = directory / "whole", directory / "halves", directory / "again"
        self.thirds = directory / "thirds"
        steps(cache, self.whole, 8, *overrides)
        for count in (3, 8):  # step 3 is the end of an epoch, and no multiple of checkpoint_every_n_steps
            steps(cache, self.halves, count, *overrides)
        for count in (2, 5, 8):
            steps(cache, self.thirds, count, *overrides)
        for count in (4, 6, 8):
            steps(cache, self.again, count, *overrides)


@pytest.fixture(scope="module")
def runs(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """24 examples in batches of 8: steps 2, 4 and 8 stand within an epoch, step 6 at the end of one."""
    return Runs(cache, tmp_path_factory.mktemp("runs"))


def test_a_continued_run_ends_with_the_weights_of_one_that_never_stopped(runs: Runs) -> None:
    expected = weights(runs.whole)
    assert expected["step"] == 8
    assert_equal(weights(runs.halves), expected)
    assert_equal(weights(runs.again), expected)
    assert_equal(weights(runs.thirds), expected)


def test_a_continued_run_logs_each_step_once_and_with_the_same_values(runs: Runs) -> None:
    expected = rows(runs.whole)
    assert [int(row["step"]) for row in expected] == list(range(1, 9))
    assert rows(runs.halves) == expected
    assert rows(runs.again) == expected
    assert rows(runs.thirds) == expected


def test_the_learning_rate_goes_on_and_does_not_begin_again(runs: Runs) -> None:
    rates = [float(row["train/lr"]) for row in rows(runs.again)]
    assert rates == pytest.approx([0, 1e-3 / 3, 2e-3 / 3, *[1e-3] * 5])


def test_every_validation_has_its_rows_and_the_best_checkpoint_is_that_of_the_metric(runs: Runs) -> None:
    for directory in (runs.whole, runs.halves, runs.again):
        found = sorted(path.name for path in (directory / "predictions" / "val").iterdir())
        assert found == [f"step={step}.jsonl" for step in (2, 4, 6, 8)]
    assert_equal(
        checkpoint.read(runs.again / "checkpoints" / "best.ckpt")["state_dict"],
        checkpoint.read(runs.whole / "checkpoints" / "best.ckpt")["state_dict"],
    )


def test_a_run_directory_holds_these_files_and_no_others(runs: Runs) -> None:
    files = {name for name in listing(runs.again) if (runs.again / name).is_file() and "predictions" not in name}
    saved = {f"checkpoints/{name}.ckpt" for name in ("best", "last", "previous")}
    pages = {"curves.png", "report.html"}
    assert files == {".lock", "config.yaml", "finished.json", "metrics.csv"} | pages | saved


class PowerCut(pl.Callback):
    """Ends training when so many steps are done, before the next one or in a validation."""

    def __init__(self, steps: int, validating: bool = False) -> None:
        self.steps, self.validating = steps, validating

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.steps and not self.validating:
            raise OSError("no current")

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.steps and self.validating:
            raise OSError("no current")


def test_steps_that_the_last_checkpoint_does_not_hold_are_made_and_logged_again(
    cache: Path, run_dir: Path, runs: Runs
) -> None:
    with pytest.raises(OSError, match="no current"):
        steps(cache, run_dir, 8, f"+callbacks.cut={{_target_: {__name__}.PowerCut, steps: 5}}")
    assert checkpoint.read(run_dir / "checkpoints" / "last.ckpt")["global_step"] == 4
    assert [row["step"] for row in rows(run_dir)] == ["1", "2", "3", "4", "5"]
    steps(cache, run_dir, 8)
    assert_equal(weights(run_dir), weights(runs.whole))
    assert rows(run_dir) == rows(runs.whole)


@pytest.mark.parametrize("step", [4, 6, 8])
def test_a_validation_that_was_cut_short_is_made_again(cache: Path, run_dir: Path, runs: Runs, step: int) -> None:
    with pytest.raises(OSError, match="no current"):
        steps(cache, run_dir, 8, f"+callbacks.cut={{_target_: {__name__}.PowerCut, steps: {step}, validating: true}}")
    assert checkpoint.read(run_dir / "checkpoints" / "last.ckpt")["global_step"] == step - 2
    steps(cache, run_dir, 8)
    assert_equal(weights(run_dir), weights(runs.whole))
    assert rows(run_dir) == rows(runs.whole)
    assert listing(run_dir / "predictions") == listing(runs.whole / "predictions")


def test_a_run_whose_directory_was_moved_still_knows_its_best_checkpoint(cache: Path, tmp_path: Path) -> None:
    steps(cache, tmp_path / "here", 4, "monitor={metric: val/loss, mode: max}")
    (tmp_path / "here").rename(tmp_path / "there")
    before = checkpoint.read(tmp_path / "there" / "checkpoints" / "best.ckpt")
    steps(cache, tmp_path / "there", 8, "monitor={metric: val/loss, mode: max}")
    after = checkpoint.read(tmp_path / "there" / "checkpoints" / "best.ckpt")
    assert after["global_step"] == before["global_step"] == 2
    assert not (tmp_path / "here").exists()


def test_every_generator_goes_on_from_its_saved_state() -> None:
    state = torch.load(_saved(resume.random_state()), weights_only=True)
    expected = (random.random(), np.random.standard_normal(3).tolist(), torch.rand(3).tolist())
    resume.restore_random_state(state)
    assert (random.random(), np.random.standard_normal(3).tolist(), torch.rand(3).tolist()) == expected


def _saved(state: dict[str, Any]) -> BytesIO:
    stream = BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return stream


@pytest.mark.parametrize(("first", "then"), [(0, 2), (2, 0), (1, 2)])
def test_another_number_of_workers_goes_on_at_the_same_example(
    cache: Path, run_dir: Path, runs: Runs, first: int, then: int
) -> None:
    steps(cache, run_dir, 4, f"num_workers={first}")
    steps(cache, run_dir, 8, f"num_workers={then}")
    assert_equal(weights(run_dir), weights(runs.whole))


def test_shuffling_may_be_switched_off_in_a_continued_run(cache: Path, run_dir: Path) -> None:
    steps(cache, run_dir, 4)
    steps(cache, run_dir, 8, "datamodule.shuffle=false")
    assert weights(run_dir)["step"] == 8


def test_a_run_that_is_finished_stays_as_it_is(cache: Path, run_dir: Path) -> None:
    steps(cache, run_dir, 2)
    before = weights(run_dir)
    logged = rows(run_dir)
    steps(cache, run_dir, 2)
    assert_equal(weights(run_dir), before)
    assert rows(run_dir) == logged


def test_of_two_first_commands_the_one_that_is_refused_removes_nothing(
    cache: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def locked(directory: Path) -> Iterator[None]:
        directory.mkdir()  # by the other one, at this very moment
        (directory / "config.yaml").touch()
        raise CheckpointError("Another process is training")
        yield

    monkeypatch.setattr(run_directories, "locked", locked)
    with pytest.raises(CheckpointError, match="Another process"):
        steps(cache, run_dir, 2)
    assert listing(run_dir) == ["config.yaml"]


def test_the_end_of_training_is_a_checkpoint_whatever_the_interval(cache: Path, run_dir: Path, runs: Runs) -> None:
    words = ("checkpoint_every_n_steps=1000", "trainer.val_check_interval=1000")
    steps(cache, run_dir, 4, *words)
    assert weights(run_dir)["step"] == 4
    steps(cache, run_dir, 8, *words)
    assert_equal(weights(run_dir), weights(runs.whole))


def test_the_end_of_the_last_epoch_is_a_checkpoint(cache: Path, run_dir: Path, runs: Runs) -> None:
    words = ("checkpoint_every_n_steps=1000", "trainer.val_check_interval=1000")
    steps(cache, run_dir, -1, *words, "trainer.max_epochs=2")
    assert weights(run_dir)["step"] == 6
    steps(cache, run_dir, 8, *words)
    assert_equal(weights(run_dir), weights(runs.whole))


def test_the_order_of_training_is_that_of_the_seed(cache: Path, tmp_path: Path, runs: Runs) -> None:
    steps(cache, tmp_path / "same", 2)
    assert [row["train/loss"] for row in rows(tmp_path / "same")] == [row["train/loss"] for row in rows(runs.whole)[:2]]
    steps(cache, tmp_path / "other", 2, "datamodule.seed=1")
    assert rows(tmp_path / "other")[0]["train/loss"] != rows(runs.whole)[0]["train/loss"]


def test_a_continued_run_begins_with_the_weights_of_the_checkpoint(cache: Path, run_dir: Path) -> None:
    # A run from the beginning would arrive at the same weights, so the saved ones are changed: all tokens alike.
    steps(cache, run_dir, 2)
    last = run_dir / "checkpoints" / "last.ckpt"
    contents = checkpoint.read(last)
    contents["state_dict"]["model.head.weight"].zero_()
    torch.save(contents, last)
    steps(cache, run_dir, 3)
    assert float(rows(run_dir)[2]["train/loss"]) == pytest.approx(math.log(27), abs=1e-5)


def test_what_is_said_to_have_changed_since_the_run_began_has_changed(
    cache: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps(cache, run_dir, 4)
    steps(cache, run_dir, 6, "optimizer.lr=0.5", "trainer.gradient_clip_val=0.1")
    assert "optimizer.lr: 0.001 -> 0.5" in capsys.readouterr().out
    assert [float(row["train/lr"]) for row in rows(run_dir)[4:]] == [0.5, 0.5]


def test_accumulated_gradients_continue_too(cache: Path, tmp_path: Path) -> None:
    words = ("global_batch_size=16", "trainer.val_check_interval=100")
    steps(cache, tmp_path / "whole", 4, *words)
    for count in (2, 4):
        steps(cache, tmp_path / "halves", count, *words)
    assert_equal(weights(tmp_path / "halves"), weights(tmp_path / "whole"))


def test_dropout_continues_too(cache: Path, tmp_path: Path) -> None:
    steps(cache, tmp_path / "whole", 4, "model.dropout=0.5")
    for count in (2, 4):
        steps(cache, tmp_path / "halves", count, "model.dropout=0.5")
    assert_equal(weights(tmp_path / "halves"), weights(tmp_path / "whole"))


def test_workers_continue_too(cache: Path, tmp_path: Path) -> None:
    steps(cache, tmp_path / "whole", 4, "num_workers=2")
    for count in (2, 4):
        steps(cache, tmp_path / "halves", count, "num_workers=2")
    assert_equal(weights(tmp_path / "halves"), weights(tmp_path / "whole"))
