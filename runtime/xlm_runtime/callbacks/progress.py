"""Progress: a bar on a terminal, plain lines elsewhere. Never waits for the device between two logs."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import Tensor

from xlm_runtime.trainer import log_interval


class Progress(pl.Callback):
    """Shows step, loss, speed and time left, whenever training logs, and each validation's metrics.

    Args:
        seconds: on no terminal, at least this long between two lines.
    """

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = seconds
        self._console = Console()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._logged_step = 0
        self._logged_time = 0.0
        self._printed_time = 0.0
        self._tokens = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._logged_step = trainer.global_step
        self._logged_time = self._printed_time = time.monotonic()
        if trainer.is_global_zero and self._console.is_terminal:
            total = trainer.max_steps if trainer.max_steps > 0 else None
            self._bar = Bar(
                TextColumn("train"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[words]}"),
                console=self._console,
            )
            self._task = self._bar.add_task("train", total=total, completed=trainer.global_step, words="")
            self._bar.start()

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
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, words=words)
        elif now - self._printed_time >= self.seconds:
            self._printed_time = now
            left = f"  {(trainer.max_steps - step) / speed:.0f} s left" if trainer.max_steps > 0 else ""
            print(f"step {step}  {words}{left}", flush=True)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        # Validation took time that is none of the training's.
        self._logged_step, self._logged_time, self._tokens = trainer.global_step, time.monotonic(), 0
        values = {n: float(v) for n, v in sorted(trainer.callback_metrics.items()) if not n.startswith("train/")}
        line = f"step {trainer.global_step}  " + "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, flush=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _tokens(batch: Any) -> int:
    """Positions of a batch, padding included, by its ``input_ids`` (B, L): known without asking the device."""
    ids = batch.get("input_ids") if isinstance(batch, dict) else None
    return ids.numel() if isinstance(ids, Tensor) else 0
