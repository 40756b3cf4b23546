"""Lightning's ``ModelCheckpoint``, cheaper at every step; of equally good checkpoints it keeps the latest."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of before, also where the run's directory has been moved or copied since.

        Lightning would forget which checkpoint was the best, and a worse one would take its place.
        """
        assert self.dirpath is not None

        def here(path: str) -> str:
            return str(Path(self.dirpath or "") / Path(path).name) if path else path

        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        paths = {key: here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath})
