"""Progress of generation: a bar on a terminal, plain lines elsewhere; and how long each row took."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl

from xlm_runtime.progress_line import ProgressLine


class Generating(pl.Callback):
    """Shows batches, and rows a second; writes ``seconds`` into each row, its share of its batch's.

    Args:
        seconds: on no terminal, at least this long between two lines.
        silent: show nothing.
    """

    def __init__(self, seconds: float = 5.0, silent: bool = False) -> None:
        self.silent = silent
        self._line = ProgressLine(seconds)
        self._total = 0
        self._rows = 0
        self._begun = self._batch_begun = 0.0

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun = time.monotonic()
        self._rows = 0
        self._total = int(sum(trainer.num_predict_batches))
        if not self.silent:
            self._line.begin("generate", self._total)

    def on_predict_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._batch_begun = time.monotonic()

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        now = time.monotonic()  # the rows are text by now: the device has done its work
        for row in outputs:
            row["seconds"] = round((now - self._batch_begun) / len(outputs), 6)
        self._rows += len(outputs)
        words = f"{self._rows / max(now - self._begun, 1e-9):.1f} rows/s"
        if not self.silent:
            self._line.advance(batch_idx + 1, words, f"batch {batch_idx + 1} of {self._total}  {words}")

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._line.end()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._line.end()
