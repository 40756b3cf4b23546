"""Lightning's ``ModelCheckpoint``, cheaper at every step; of equally good checkpoints it keeps the latest."""

from __future__ import annotations

from functools import cached_property

import lightning.pytorch as pl
from lightning.pytorch import callbacks
from torch import Tensor


class ModelCheckpoint(callbacks.ModelCheckpoint):
    """The same in all else. Its key in a checkpoint, which Lightning asks for at every hook of every step, is made
    once; the class bears the same name because that name is part of the key.
    """

    @cached_property
    def state_key(self) -> str:
        return super().state_key

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """Whether ``current`` is among the best, an equal value included.

        Lightning keeps the first of equal values: a run whose exact match is 0 for long would keep its first weights.
        """
        if super().check_monitor_top_k(trainer, current):
            return True
        worst = self.best_k_models.get(self.kth_best_model_path)
        return current is not None and worst is not None and bool(current == worst)
