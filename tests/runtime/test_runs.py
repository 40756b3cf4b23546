"""The directory of a run: when a command may continue it, and that it then goes on exactly where it stopped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tiny_parts as tiny
import torch
from omegaconf import DictConfig, OmegaConf

from xlm_runtime import checkpoint
from xlm_runtime.config import set_vocab
from xlm_runtime.errors import CheckpointError
from xlm_runtime.runs import Opened, locked, open_run, save_config, save_end

VOCAB = {"size": 27, "pad": 0, "cls": 1, "mask": 2, "eos": 3, "bos": 4, "sep": 5, "unk": 6}


def saved_run(run_dir: Path, cfg: DictConfig, *checkpoints: str) -> None:
    """A directory as training leaves it: the configuration, with the tokenizer's facts, and checkpoints."""
    saved = OmegaConf.create(OmegaConf.to_yaml(cfg))
    set_vocab(saved, VOCAB)
    save_config(run_dir, saved)
    (run_dir / "checkpoints").mkdir()
    for name in checkpoints:
        torch.save({"state_dict": {}, "note": "weights"}, run_dir / "checkpoints" / f"{name}.ckpt")


def listing(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


# -- may it be continued? ----------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", ["true", "false"])
def test_a_run_starts_in_a_directory_that_is_not_there_or_empty(cache: Path, run_dir: Path, resume: str) -> None:
    cfg = tiny.arlm_config(cache, f"run_dir={run_dir}", f"resume={resume}")
    assert open_run(run_dir, cfg) == Opened()
    assert not run_dir.exists()
    run_dir.mkdir()
    assert open_run(run_dir, cfg) == Opened()


def test_resume_false_refuses_a_directory_that_holds_anything_and_leaves_it_alone(cache: Path, run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"resume=false.*not empty"):
        open_run(run_dir, tiny.arlm_config(cache, "resume=false"))
    assert listing(run_dir) == ["notes.txt"]


def test_the_same_command_continues_from_the_last_checkpoint(cache: Path, run_dir: Path) -> None:
    cfg = tiny.arlm_config(cache, f"run_dir={run_dir}")
    saved_run(run_dir, cfg, "best", "last")
    assert open_run(run_dir, cfg) == Opened(run_dir / "checkpoints" / "last.ckpt")


def damage(file: Path, how: str) -> None:
    """Half of a file, another byte within the data, or nothing."""
    content = bytearray(file.read_bytes())
    if how == "a bit":
        content[content.index(b"weights") + 3] ^= 1
    file.write_bytes({"cut short": content[: len(content) // 2], "a bit": content, "empty": b""}[how])


@pytest.mark.parametrize("how", ["cut short", "a bit", "empty"])
def test_a_damaged_last_checkpoint_is_passed_over_and_that_is_said(cache: Path, run_dir: Path, how: str) -> None:
    cfg = tiny.arlm_config(cache, f"run_dir={run_dir}")
    saved_run(run_dir, cfg, "best", "last", "previous")
    last, previous = (run_dir / "checkpoints" / f"{name}.ckpt" for name in ("last", "previous"))
    damage(last, how)
    opened = open_run(run_dir, cfg)
    assert opened.last == previous
    (remark,) = opened.remarks
    assert f"{last} cannot be read" in remark and f"Continuing from the one before it, {previous}" in remark
    damage(previous, how)
    with pytest.raises(CheckpointError, match=r"last\.ckpt cannot be read.*damaged"):
        open_run(run_dir, cfg)


def test_a_byte_is_damaged_wherever_the_file_tells_of_its_parts(run_dir: Path) -> None:
    (run_dir / "checkpoints").mkdir(parents=True)
    last, previous = (run_dir / "checkpoints" / f"{name}.ckpt" for name in ("last", "previous"))
    for file in (last, previous):
        torch.save({"state_dict": {"weight": torch.arange(9)}}, file)
    whole = last.read_bytes()
    passed_over = 0
    for place in range(whole.index(b"PK\x01\x02"), len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        last.write_bytes(damaged)
        found, said = checkpoint.to_continue_from(run_dir)
        assert found in (last, previous) and (found == previous) == (str(last) in said), place
        assert checkpoint.read(found)["state_dict"]["weight"].tolist() == list(range(9)), place
        passed_over += found == previous
    assert passed_over > 100


def test_a_run_that_was_killed_between_two_names_of_a_checkpoint(cache: Path, run_dir: Path) -> None:
    cfg = tiny.arlm_config(cache, f"run_dir={run_dir}")
    saved_run(run_dir, cfg, "previous")
    assert open_run(run_dir, cfg).last == run_dir / "checkpoints" / "previous.ckpt"


def test_a_finished_run_is_known_until_its_configuration_changes(cache: Path, run_dir: Path) -> None:
    cfg = tiny.arlm_config(cache, f"run_dir={run_dir}")
    saved_run(run_dir, cfg, "last")
    assert open_run(run_dir, cfg).finished is None
    save_end(run_dir, 7, {"val/loss": 0.5}, "trainer.max_steps")
    assert open_run(run_dir, cfg).finished == {"step": 7, "metrics": {"val/loss": 0.5}, "ended": "trainer.max_steps"}
    more = tiny.arlm_config(cache, f"run_dir={run_dir}", "trainer.max_steps=9000")
    assert open_run(run_dir, more).finished is None


def test_two_processes_never_train_in_one_directory(run_dir: Path) -> None:
    hold = (
        "import sys, pathlib; from xlm_runtime.runs import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(run_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match=r"Another process is training in .*run"), locked(run_dir):
            pass
        holder.stdin.close()
    with locked(run_dir):
        pass


def test_a_run_without_checkpoint_starts_again(cache: Path, run_dir: Path) -> None:
    cfg = tiny.arlm_config(cache, f"run_dir={run_dir}")
    saved_run(run_dir, cfg)
    assert open_run(run_dir, cfg) == Opened()


def test_what_may_change_is_said_and_changed(cache: Path, run_dir: Path) -> None:
    saved_run(run_dir, tiny.arlm_config(cache, f"run_dir={run_dir}"), "last")
    changed = tiny.arlm_config(cache, f"run_dir={run_dir}", "trainer.max_steps=9", "optimizer.lr=0.5")
    opened = open_run(run_dir, changed)
    assert opened.last is not None
    assert sorted(remark.partition(": ")[2] for remark in opened.remarks) == [
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
