"""The command that trained a model, in its checkpoint and in what is exported of it: others can train it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from xlm_runtime import checkpoint, exported

KEY = "xlm_command"


class KeepCommand(pl.Callback):
    """Puts the words of the command line into every checkpoint; of a continued run, those of the last command."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[KEY] = self._words


def command_of(path: Path) -> list[str]:
    """The words that a checkpoint or exported folder keeps; none where it was made before they were kept."""
    if not exported.is_exported(path):
        return _words(checkpoint.read(path).get(KEY))
    with suppress(ValueError):  # of a folder from elsewhere, which may hold anything
        return _words(json.loads(exported.metadata(path).get(KEY, "[]")))
    return []


def _words(kept: Any) -> list[str]:
    return [str(word) for word in kept] if isinstance(kept, list) else []


def as_metadata(words: Sequence[str]) -> dict[str, str]:
    """The same for the metadata of an exported model."""
    return {KEY: json.dumps(list(words))} if words else {}
