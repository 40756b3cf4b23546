"""The directory of a run: when a command may continue it, and that it then goes on exactly where it stopped."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import tiny_parts as tiny
import torch
from omegaconf import DictConfig, OmegaConf

from xlm_runtime import checkpoint
from xlm_runtime.config import set_vocab
from xlm_runtime.errors import CheckpointError
from xlm_runtime.jobs import train
from xlm_runtime.runs import open_run, save_config

VOCAB = {"size": 27, "pad": 0, "cls": 1, "mask": 2, "eos": 3, "bos": 4, "sep": 5, "unk": 6}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


def saved_run(run_dir: Path, cfg: DictConfig, *checkpoints: str) -> None:
    """A directory as training leaves it: the configuration, with the tokenizer's facts, and checkpoints."""
    saved = OmegaConf.create(OmegaConf.to_yaml(cfg))
    set_vocab(saved, VOCAB)
    save_config(run_dir, saved)
    (run_dir / "checkpoints").mkdir()
    for name in checkpoints:
        (run_dir / "checkpoints" / f"{name}.ckpt").touch()


def listing(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


# -- may it be continued? ----------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", ["true", "false"])
def test_a_run_starts_in_a_directory_that_is_not_there_or_empty(cache: Path, run_dir: Path, resume: str) -> None:
    cfg = tiny.arlm_config(cache, f"run_dir={run_dir}", f"resume={resume}")
    assert open_run(run_dir, cfg) is None
    assert not run_dir.exists()
    run_dir.mkdir()
    assert open_run(run_dir, cfg) is None


def test_resume_false_refuses_a_directory_that_holds_anything_and_leaves_it_alone(cache: Path, run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"resume=false.*not empty"):
        open_run(run_dir, tiny.arlm_config(cache, "resume=false"))
    assert listing(run_dir) == ["notes.txt"]


def test_the_same_command_continues_from_the_last_checkpoint(
    cache: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = tiny.arlm_config(cache, f"run_dir={run_dir}")
    saved_run(run_dir, cfg, "best", "last")
    assert open_run(run_dir, cfg) == run_dir / "checkpoints" / "last.ckpt"
    assert capsys.readouterr().out == ""


def test_a_run_without_checkpoint_starts_again(cache: Path, run_dir: Path) -> None:
    cfg = tiny.arlm_config(cache, f"run_dir={run_dir}")
    saved_run(run_dir, cfg)
    assert open_run(run_dir, cfg) is None


def test_what_may_change_is_said_and_changed(cache: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved_run(run_dir, tiny.arlm_config(cache, f"run_dir={run_dir}"), "last")
    changed = tiny.arlm_config(cache, f"run_dir={run_dir}", "trainer.max_steps=9", "optimizer.lr=0.5")
    assert open_run(run_dir, changed) is not None
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(": ")[2] for line in lines) == [
        "optimizer.lr: 0.001 -> 0.5",
        "trainer.max_steps: 5000 -> 9",
    ]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.d_model=64", "model.d_model: 32 -> 64"),
        ("model.neighbour_shift=true", "model.neighbour_shift: False -> True"),
        ("tokenizer=byte", "tokenizer._target_"),
        ("dataset.num_nodes=56", "56"),  # the tokenizer's size is interpolated from it
    ],
)
def test_another_model_or_vocabulary_cannot_continue_it(cache: Path, run_dir: Path, override: str, says: str) -> None:
    saved_run(run_dir, tiny.arlm_config(cache, f"run_dir={run_dir}"), "last")
    before = listing(run_dir)
    with pytest.raises(CheckpointError, match="another model or tokenizer") as caught:
        open_run(run_dir, tiny.arlm_config(cache, f"run_dir={run_dir}", override))
    assert says in str(caught.value)
    assert listing(run_dir) == before


def test_a_saved_configuration_keeps_its_interpolations(cache: Path, run_dir: Path) -> None:
    save_config(run_dir, tiny.arlm_config(cache))
    saved = OmegaConf.load(run_dir / "config.yaml")
    saved.batch_size = 5
    assert saved.datamodule.batch_size == saved.datamodule.eval_batch_size == 5


# -- it goes on where it stopped ---------------------------------------------------------------------------


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
    assert files == {"config.yaml", "metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"}


class PowerCut(pl.Callback):
    """Ends training when so many steps are done."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.steps:
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
    assert float(rows(run_dir)[2]["train/loss"]) == pytest.approx(math.log(VOCAB["size"]), abs=1e-5)


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
