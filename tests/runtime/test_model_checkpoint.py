"""The checkpoint callback is Lightning's in all but cost: its key in a checkpoint above all."""

from __future__ import annotations

import pytest
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
