"""What a checkpoint holds besides Lightning's own, for whoever continues the run or uses its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl


class Keep(pl.Callback):
    """Puts plain values into every checkpoint.

    Args:
        values: by their keys in the checkpoint; ``None`` is left out.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {key: value for key, value in values.items() if value is not None}

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint.update(self._values)
