"""An exponential moving average of the weights, which is what is evaluated and handed on.

    average <- average + (1 - d) (weights - average),      d = min(decay, (1 + n) / (10 + n)) after n updates

The rising d lets the average forget the random weights of the start (as in TensorFlow's ``ExponentialMovingAverage``).
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from xlm_runtime.options import check_number

KEY = "xlm_ema"


class Ema(pl.Callback):
    """Averages all trainable weights after every step; validations run with the average, and checkpoints hold it.

    A checkpoint's ``state_dict`` is the average; the weights that training goes on with stand beside it.

    Args:
        decay: in (0, 1), such as 0.999; None: no average.

    Raises:
        ConfigError: another decay. Weights that are spread over processes (``trainer=fsdp``) are refused where the
            Trainer is made.
    """

    def __init__(self, decay: float | None = None) -> None:
        check_number("ema_decay", decay, "(0, 1)", or_null=True)
        self.decay = decay
        self._names: list[str] = []
        self._weights: list[Tensor] = []
        self._average: list[Tensor] = []
        self._saved: dict[str, Any] | None = None
        self._updates = self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.decay is None:
            return
        named = [(name, p.detach()) for name, p in pl_module.named_parameters() if p.requires_grad]
        self._names, self._weights = [name for name, _ in named], [weight for _, weight in named]
        self._step = trainer.global_step
        if self._saved is None:
            self._average = [weight.clone() for weight in self._weights]
        else:
            average, self._updates = self._saved["average"], int(self._saved["updates"])
            self._average = [average[name].to(weight) for name, weight in named]
            self._saved = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.decay is None or trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self._average, self._weights, 1 - decay)
        self._updates += 1

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not self._average:
            return
        state = checkpoint["state_dict"]
        if state:  # the first process's
            checkpoint[KEY] = {"weights": {name: state[name] for name in self._names}, "updates": self._updates}
            state.update(zip(self._names, self._average, strict=True))

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = checkpoint.get(KEY)
        if saved is None:
            return
        average = {name: checkpoint["state_dict"][name] for name in saved["weights"]}
        if self.decay is not None and average.keys() == {n for n, p in pl_module.named_parameters() if p.requires_grad}:
            self._saved = {"average": average, "updates": saved["updates"]}
        pl_module.load_state_dict(
            saved["weights"], strict=False
        )  # without an average, too, training goes on with these

    def _swap(self) -> None:
        for average, weight in zip(self._average, self._weights, strict=True):
            held = weight.clone()
            weight.copy_(average)
            average.copy_(held)
