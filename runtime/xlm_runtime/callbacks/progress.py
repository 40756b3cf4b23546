"""Progress: a bar on a terminal, plain lines elsewhere. Never waits for the device between two logs."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from xlm_runtime.progress_line import ProgressLine
from xlm_runtime.trainer import log_interval


class Progress(pl.Callback):
    """Shows step, loss, speed and time left, whenever training logs, and each validation's metrics.

    Args:
        seconds: on no terminal, at least this long between two lines.
    """

    def __init__(self, seconds: float = 5.0) -> None:
        self._line = ProgressLine(seconds)
        self._logged_step = 0
        self._logged_time = 0.0
        self._tokens = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._logged_step = trainer.global_step
        self._logged_time = time.monotonic()
        if trainer.is_global_zero:
            self._line.begin("train", trainer.max_steps if trainer.max_steps > 0 else None, trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        self._tokens += _tokens(batch)
        if step % log_interval(trainer) or step == self._logged_step or not trainer.is_global_zero:
            return
        now = time.monotonic()
        seconds = max(now - self._logged_time, 1e-9)
        speed, tokens = (step - self._logged_step) / seconds, self._tokens * trainer.world_size / seconds
        self._logged_step, self._logged_time, self._tokens = step, now, 0
        loss = trainer.callback_metrics.get("train/loss")
        known = [] if loss is None else [f"loss {float(loss):.4f}"]
        words = "  ".join([*known, f"{speed:.1f} steps/s", *([f"{tokens:,.0f} tokens/s"] if tokens else [])])
        left = f"  {(trainer.max_steps - step) / speed:.0f} s left" if trainer.max_steps > 0 else ""
        self._line.advance(step, words, f"step {step}  {words}{left}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        # Validation took time that is none of the training's.
        self._logged_step, self._logged_time, self._tokens = trainer.global_step, time.monotonic(), 0
        values = {n: float(v) for n, v in sorted(trainer.callback_metrics.items()) if not n.startswith("train/")}
        self._line.say(f"step {trainer.global_step}  " + "  ".join(f"{name} {v:.4f}" for name, v in values.items()))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._line.end()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._line.end()


def _tokens(batch: Any) -> int:
    """Positions of a batch, padding included, by its ``input_ids`` (B, L): known without asking the device."""
    ids = batch.get("input_ids") if isinstance(batch, dict) else None
    return ids.numel() if isinstance(ids, Tensor) else 0
