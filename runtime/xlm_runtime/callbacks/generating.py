"""Progress of generation: a bar on a terminal, plain lines elsewhere; and how long each row took."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Generating(pl.Callback):
    """Shows batches, and rows a second; writes ``seconds`` into each row, its share of its batch's.

    Args:
        seconds: on no terminal, at least this long between two lines.
        silent: show nothing.
    """

    def __init__(self, seconds: float = 5.0, silent: bool = False) -> None:
        self.seconds = seconds
        self.silent = silent
        self._console = Console()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._rows = 0
        self._begun = self._batch_begun = self._printed = 0.0

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun = self._printed = time.monotonic()
        self._rows = 0
        self._total = int(sum(trainer.num_predict_batches))
        if not self.silent and self._console.is_terminal:
            columns = (TextColumn("generate"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, TextColumn("{task.fields[words]}"), console=self._console)
            self._task = self._bar.add_task("generate", total=self._total, words="")
            self._bar.start()

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
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=batch_idx + 1, words=words)
        elif not self.silent and now - self._printed >= self.seconds:
            self._printed = now
            print(f"batch {batch_idx + 1} of {self._total}  {words}", flush=True)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
