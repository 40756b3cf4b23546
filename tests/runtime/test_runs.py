"""The directory of a run: when a command may continue it, and that it then goes on exactly where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_parts as tiny
from omegaconf import DictConfig, OmegaConf

from xlm_runtime.config import set_vocab
from xlm_runtime.errors import CheckpointError
from xlm_runtime.runs import open_run, save_config

VOCAB = {"size": 27, "pad": 0, "cls": 1, "mask": 2, "eos": 3, "bos": 4, "sep": 5, "unk": 6}


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
