"""The checkpoint that a run continues from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from xlm_runtime.trainer import validates_now, writes_nothing


class LastCheckpoint(Checkpoint):
    """Saves at every so many steps, and when training ends: what was trained is never trained again.

    Where a validation follows the step, the checkpoint is made after it. A run that ends in the middle of a validation
    then makes the steps again and that validation with them; a checkpoint of before would leave it out for good.
    Nothing is saved when training has ended already: Lightning counts the steps of a continued run from there.

    Args:
        file: where, such as ``<run_dir>/checkpoints/last.ckpt``.
        every_n_steps: optimizer steps between two checkpoints.
    """

    def __init__(self, file: str, every_n_steps: int) -> None:
        self.file = Path(file)
        self.every_n_steps = every_n_steps
        self._saved_step = 0
        self._due = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        last_epoch = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
        ends = trainer.should_stop or last_epoch or step == trainer.max_steps
        # Of the batches whose gradients are accumulated, each ends with the step of the one before.
        self._due = self._due or ends or (step % self.every_n_steps == 0 and step != self._saved_step)
        if self._due and not validates_now(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (self._due or trainer.should_stop) and not trainer.sanity_checking:
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        if not writes_nothing(trainer):
            trainer.save_checkpoint(self.file)
        self._saved_step, self._due = trainer.global_step, False
