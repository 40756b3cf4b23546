"""Checkpoints: plain types only, self-describing, and never a way to run code."""

from __future__ import annotations

import functools
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import tiny_parts as tiny
import torch
import yaml

from xlm_runtime import __version__, checkpoint
from xlm_runtime.errors import CheckpointError
from xlm_runtime.harness import Harness

CONFIG = "seed: 3\nmodel:\n  size: ${vocab.size}\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of three steps with AdamW and a schedule."""
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    trainer = tiny.make_trainer(max_steps=3)
    trainer.fit(harness(), datamodule=tiny.make_datamodule(shuffle=True))
    trainer.save_checkpoint(path)
    return path


def harness(**changes: Any) -> Harness:
    settings: dict[str, Any] = {
        "optimizer": functools.partial(torch.optim.AdamW, lr=0.1),
        "lr_scheduler": functools.partial(torch.optim.lr_scheduler.StepLR, step_size=2),
        "config": CONFIG,
    }
    return tiny.make_harness(**(settings | changes))


def weights(module: torch.nn.Module) -> dict[str, list[float]]:
    return {name: value.flatten().tolist() for name, value in module.state_dict().items()}


# -- what is in one ----------------------------------------------------------------------------------------


def test_a_checkpoint_holds_plain_types_only(saved: Path) -> None:
    contents = torch.load(saved, weights_only=True)
    assert {"state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step"} <= set(contents)
    assert contents["global_step"] == 3
    assert set(contents["state_dict"]) == set(harness().state_dict())


def test_a_checkpoint_carries_the_configuration_and_the_version(saved: Path) -> None:
    assert checkpoint.config_of(saved) == CONFIG
    assert checkpoint.read(saved)["xlm"]["version"] == __version__


def test_a_checkpoint_holds_no_metric_state(saved: Path) -> None:
    assert not [name for name in checkpoint.read(saved)["state_dict"] if "metric" in name]


def test_tensors_are_read_onto_the_cpu(saved: Path) -> None:
    assert {value.device.type for value in checkpoint.read(saved)["state_dict"].values()} == {"cpu"}


# -- where it is -------------------------------------------------------------------------------------------


def test_the_best_is_found_before_the_last(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoints"
    assert checkpoint.find(tmp_path) is None
    directory.mkdir()
    assert checkpoint.find(tmp_path) is None
    (directory / "last.ckpt").touch()
    assert checkpoint.find(tmp_path) == directory / "last.ckpt"
    (directory / "best.ckpt").touch()
    assert checkpoint.find(tmp_path) == directory / "best.ckpt"
    assert checkpoint.find(tmp_path, ("last",)) == directory / "last.ckpt"
    assert checkpoint.find(tmp_path, ("last", "best")) == directory / "last.ckpt"


# -- loading -----------------------------------------------------------------------------------------------


def test_weights_are_loaded_and_the_step_is_told(saved: Path) -> None:
    fresh = harness()
    before = weights(fresh)
    assert checkpoint.load_weights(fresh, saved) == 3
    state = checkpoint.read(saved)["state_dict"]
    assert weights(fresh) == {name: value.flatten().tolist() for name, value in state.items()}
    assert weights(fresh) != before


def test_settings_of_the_model_that_have_changed_are_told(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By another mask, say, the same weights are another network. Catches a remark on what has not changed, on dropout,
    and on settings that one of the two does not know."""
    trained = {"_target_": "tiny.Model", **yaml.safe_load(checkpoint.config_of(saved))["model"]}
    checkpoint.load_weights(harness(), saved, {**trained, "dropout": 0.5, "new": 1})
    assert capsys.readouterr().err == ""
    checkpoint.load_weights(harness(), saved, {**trained, "size": "wide"})
    told = "changed since the weights were trained: model.size: ${vocab.size} -> wide"
    assert capsys.readouterr().err.splitlines() == [told]


def save_state(path: Path, state: dict[str, Any]) -> Path:
    torch.save({"state_dict": state}, path)
    return path


def test_weights_that_do_not_fit_are_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    module = harness()
    before = weights(module)
    state = {name: torch.full_like(value, 9.0) for name, value in module.state_dict().items()}
    del state["model.head.bias"]
    state["model.old"] = torch.zeros(7)
    state["model.head.weight"] = torch.zeros(2, 3)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_weights(module, save_state(tmp_path / "other.ckpt", state))
    message = str(caught.value)
    assert str(tmp_path / "other.ckpt") in message
    assert "missing: model.head.bias (8,)" in message
    assert "left over: model.old (7,)" in message
    assert "model.head.weight is (2, 3) in the file, (8, 4) in the model" in message
    assert "more" not in message
    assert weights(module) == before


def test_at_most_five_faults_are_named(tmp_path: Path) -> None:
    module = harness()
    state = dict(module.state_dict()) | {f"model.extra{i}": torch.zeros(1) for i in range(8)}
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_weights(module, save_state(tmp_path / "other.ckpt", state))
    assert str(caught.value).count("left over") == 5
    assert "and 3 more" in str(caught.value)


# -- what is refused ---------------------------------------------------------------------------------------


class Evil:
    """Makes a directory when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("place", ["state_dict", "xlm"])
def test_a_pickled_object_is_refused_and_its_code_never_runs(tmp_path: Path, place: str, legacy: bool) -> None:
    path, mark = tmp_path / "evil.ckpt", tmp_path / "it-ran"
    torch.save({"state_dict": {}, place: Evil(mark)}, path, _use_new_zipfile_serialization=not legacy)
    for use in (checkpoint.read, checkpoint.config_of, lambda file: checkpoint.load_weights(harness(), file)):
        with pytest.raises(CheckpointError, match=r"evil\.ckpt.*not loaded") as refused:
            use(path)
        assert "weights_only" not in str(refused.value)  # torch's advice, to load it all the same
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # so the file was dangerous


def test_a_bare_pickle_is_refused_and_its_code_never_runs(tmp_path: Path) -> None:
    path, mark = tmp_path / "evil.ckpt", tmp_path / "it-ran"
    path.write_bytes(pickle.dumps({"state_dict": Evil(mark)}))
    with pytest.raises(CheckpointError, match=r"evil\.ckpt"):
        checkpoint.read(path)
    assert not mark.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short_is_an_error(tmp_path: Path, saved: Path, share: float) -> None:
    content = saved.read_bytes()
    path = tmp_path / "short.ckpt"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"short\.ckpt.*damaged.*\nUse another checkpoint: ckpt_path=") as refused:
        checkpoint.read(path)
    assert not re.search("miniz|PytorchStream|weights_only|training begins", str(refused.value))
    with pytest.raises(CheckpointError, match=r"\nRemove it: without a checkpoint, training begins again"):
        checkpoint.read(path, checkpoint.BEGIN_AGAIN)


@pytest.mark.parametrize("content", [b"no checkpoint at all\n", b"\x00" * 1000, b"PK\x03\x04 no archive"])
def test_a_file_of_another_kind_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"other\.ckpt"):
        checkpoint.read(path)


def test_a_missing_file_and_a_directory_are_errors_that_say_what_to_give(tmp_path: Path) -> None:
    for path in (tmp_path / "none.ckpt", tmp_path):
        with pytest.raises(CheckpointError, match=r"no checkpoint at .*ckpt_path=<file>"):
            checkpoint.read(path)


@pytest.mark.parametrize("contents", [{"weights": 1}, [1, 2], torch.zeros(2)])
def test_a_file_of_tensors_without_a_state_dict_is_no_checkpoint(tmp_path: Path, contents: Any) -> None:
    torch.save(contents, tmp_path / "tensors.ckpt")
    with pytest.raises(CheckpointError, match=r"tensors\.ckpt.*state_dict"):
        checkpoint.read(tmp_path / "tensors.ckpt")


def test_a_checkpoint_of_another_program_carries_no_configuration(tmp_path: Path) -> None:
    path = save_state(tmp_path / "foreign.ckpt", {})
    with pytest.raises(CheckpointError, match=r"foreign\.ckpt carries no configuration.*\n?.*experiment="):
        checkpoint.config_of(path)
