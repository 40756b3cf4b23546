"""The checkpoint that a run continues from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from xlm_runtime.callbacks.model_checkpoint import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """Also saves when training ends between two regular checkpoints: what was trained is never trained again.

    It saves where regular checkpoints are saved, after a batch or a validation, and not when training has ended:
    Lightning counts the steps of a continued run from there.
    """

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        last_epoch = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.should_stop or last_epoch or trainer.global_step == trainer.max_steps:
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if trainer.should_stop:
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        assert self.dirpath is not None
        trainer.save_checkpoint(Path(self.dirpath) / f"{self.filename}{self.FILE_EXTENSION}")
