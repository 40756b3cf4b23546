"""The checkpoint callback is Lightning's in all but cost: its key in a checkpoint above all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import callbacks

from xlm_runtime.callbacks.model_checkpoint import ModelCheckpoint

SETTINGS = [
    {"filename": "best", "monitor": "val/exact_match", "mode": "max"},
    {"filename": "last", "every_n_train_steps": 1000},
    {"train_time_interval": None, "every_n_epochs": 2},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_state_key_is_that_of_lightning(settings: dict[str, object]) -> None:
    ours, theirs = ModelCheckpoint(**settings), callbacks.ModelCheckpoint(**settings)
    assert ours.state_key == theirs.state_key
    assert ours.state_key is ours.state_key  # made once


def test_two_checkpoints_have_keys_of_their_own() -> None:
    keys = {ModelCheckpoint(**settings).state_key for settings in SETTINGS}
    assert len(keys) == len(SETTINGS)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_of_equally_good_checkpoints_the_latest_is_kept(mode: str) -> None:
    callback = ModelCheckpoint(filename="best", monitor="val/exact_match", mode=mode)
    trainer = SimpleNamespace(strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all=True: decision))
    assert callback.check_monitor_top_k(trainer, torch.tensor(0.5))  # the first
    callback.best_k_models = {"best.ckpt": torch.tensor(0.5)}
    callback.kth_best_model_path = "best.ckpt"
    assert callback.check_monitor_top_k(trainer, torch.tensor(0.5))
    worse = torch.tensor(0.4 if mode == "max" else 0.6)
    assert not callback.check_monitor_top_k(trainer, worse)
