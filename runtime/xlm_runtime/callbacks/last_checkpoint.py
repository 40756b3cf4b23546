"""The checkpoint that a run continues from."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint

from xlm_runtime.checkpoint import END
from xlm_runtime.faults import is_of_connection
from xlm_runtime.signals import Listener, Stopped, ignore_sigterm
from xlm_runtime.trainer import (
    count_steps,
    ends_now,
    leave_at_once,
    leave_signals_to_us,
    validates_now,
    what_ended,
    writes_nothing,
)

#: Steps between two times that several processes ask one another for signals, as asking takes a moment; and seconds,
#: where steps are long: SLURM gives a run two minutes or less.
_MOST_STEPS, _SECONDS = 10, 5.0


class LastCheckpoint(Checkpoint):
    """Saves at every so many steps, when training ends, and when a signal asks the run to stop: what was trained is
    never trained again.

    Where a validation follows the step, the checkpoint is made after it. A run that ends in the middle of a validation
    then makes the steps again and that validation with them; a checkpoint of before would leave it out for good.
    Nothing is saved when training has ended already: Lightning counts the steps of a continued run from there. What a
    callback or a clock has ended is noted in the checkpoint: no setting says that there is nothing left to train.

    Args:
        file: where, such as ``<run_dir>/checkpoints/last.ckpt``.
        every_n_steps: optimizer steps between two checkpoints.

    Raises ``Stopped`` after a signal, once the state is saved.
    """

    def __init__(self, file: str, every_n_steps: int) -> None:
        self.file = Path(file)
        self.every_n_steps = every_n_steps
        self._listener = Listener()
        self._saved_step = self._step = 0
        self._whole = True
        self._asked_step = self._ask_step = 0
        self._asked = 0.0
        self._due = self._ended = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_step = self._step = self._asked_step = trainer.global_step
        self._ask_step, self._asked = self._step + 1, time.monotonic()
        self._listener.start(lambda number: self._last_words(trainer, number))
        leave_signals_to_us(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        count_steps(trainer)  # before every one: a run may begin anywhere in an epoch

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        # Of the batches that are accumulated, only the last makes a step; gradients of the others are in no checkpoint.
        self._whole, self._step = step != self._step, step
        last_epoch = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
        ends = ends_now(trainer) or last_epoch or step == trainer.max_steps
        self._due = self._due or ends or (step % self.every_n_steps == 0 and step != self._saved_step)
        if validates_now(trainer):
            return
        if self._due:
            self._save(trainer)
        if self._whole and not ends and (trainer.world_size == 1 or step >= self._ask_step):
            self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        if self._due or ends_now(trainer):
            self._save(trainer)
        if self._whole and trainer.global_step != trainer.max_steps and not ends_now(trainer):
            self._stop_if_asked(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if ends_now(trainer) and not self._ended:  # a callback asks for the end here only
            self._save(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if ends_now(trainer):
            checkpoint[END] = what_ended(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._listener.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, Stopped):  # a process that is to end may hang at its end, too
            self._listener.stop()
        if trainer.world_size > 1 and is_of_connection(exception):
            ignore_sigterm()  # of a launcher that ends this process, too: it has to say yet why it ends

    def _last_words(self, trainer: pl.Trainer, number: int) -> None:
        found = self.file.exists()
        rest = f"The same command continues from {self.file}." if found else "No checkpoint was saved yet."
        leave_at_once(trainer, f"Stopped at once by a second signal, {signal.Signals(number).name}. {rest}")

    def _stop_if_asked(self, trainer: pl.Trainer) -> None:
        number = self._listener.received
        if trainer.world_size > 1:
            number = self._agree(number, trainer)
        if number:
            if self._saved_step != trainer.global_step:
                self._save(trainer)
            raise Stopped(number, trainer.global_step)

    def _agree(self, number: int, trainer: pl.Trainer) -> int:
        """A signal that any process has received, and the step at which all ask again: the soonest that any wants."""
        now, step = time.monotonic(), trainer.global_step
        seconds = (now - self._asked) / max(step - self._asked_step, 1)
        soon = max(1, min(_MOST_STEPS, int(_SECONDS / max(seconds, 1e-9))))
        said = torch.tensor([number, -soon], device=trainer.strategy.root_device)
        torch.distributed.all_reduce(said, op=torch.distributed.ReduceOp.MAX)
        number, less = said.tolist()  # of the negative numbers, the largest is the shortest time
        self._ask_step, self._asked_step, self._asked = step - less, step, now
        return number

    def _save(self, trainer: pl.Trainer) -> None:
        if not writes_nothing(trainer):
            trainer.save_checkpoint(self.file)
        self._saved_step, self._due, self._ended = trainer.global_step, False, ends_now(trainer)
