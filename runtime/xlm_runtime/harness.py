"""The LightningModule: runs the loss and the predictor that it is given, and logs what they return.

    training_step -> loss.loss_fn(batch)["loss"]
    validation and test, loader of kind lm          -> loss.loss_fn   -> metrics.lm
    validation and test, loader of kind prediction  -> predictor.predict -> metrics.prediction, rows

A model that needs more subclasses Harness in its own repository and names it in ``harness._target_``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from xlm_runtime import checkpoint as checkpoints
from xlm_runtime.errors import ConfigError, ContractError, did_you_mean
from xlm_runtime.metrics import LoaderKind, MetricSet
from xlm_runtime.optim import group_options, keep_options, parameter_groups
from xlm_runtime.predictions import Row, rows_file, write_rows
from xlm_runtime.trainer import log_interval, writes_nothing

VALIDATION = "val"


class Harness(pl.LightningModule):
    """Everything here is built already; nothing is filled in later.

    Args:
        model: the network.
        loss: a LossFunction.
        predictor: a Predictor, or None for a model that generates nothing.
        noise_schedule: a NoiseSchedule or None.
        metrics: a MetricSet by part (``val`` and the evaluated split) and loader kind.
        eval_kinds: the kinds of the evaluation loaders, in their order.
        eval_split: the part that test loaders read; test metrics bear its name.
        optimizer: parameter groups -> optimizer.
        weight_decay: of matrices.
        optimizer_groups: optimizer options by part.
        lr_scheduler: optimizer -> scheduler stepped once a training step, or None for a constant rate.
        track: scalars of the loss's dict that are logged in training, as means since the last log.
        compile: compile ``loss_fn``.
        run_dir: where prediction rows are written; None writes none.
        config: the run's configuration as YAML text; every checkpoint carries it.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Any,
        predictor: Any,
        noise_schedule: Any,
        metrics: Mapping[tuple[str, LoaderKind], MetricSet],
        eval_kinds: Sequence[LoaderKind],
        eval_split: str,
        optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        weight_decay: float,
        optimizer_groups: Mapping[str, Mapping[str, Any]],
        lr_scheduler: Callable[[torch.optim.Optimizer], Any] | None,
        track: Sequence[str],
        compile: bool,
        run_dir: Path | None,
        config: str,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.predictor = predictor
        self.noise_schedule = noise_schedule
        self._share_parts()
        self.metric_sets = dict(metrics)  # a plain dict: metrics are no part of the weights
        self.eval_kinds = list(eval_kinds)
        self.eval_split = eval_split
        self._make_optimizer = optimizer
        self._weight_decay = weight_decay
        self._optimizer_groups = dict(optimizer_groups)
        self._make_lr_scheduler = lr_scheduler
        self.track = list(track)
        self.run_dir = run_dir
        self.config = config
        self._compile = compile
        self._loss_fn: Callable[[Any], dict[str, Any]] = loss.loss_fn
        self._output_checked = False
        self._tracked: dict[str, Tensor] = {}
        self._tracked_steps = 0
        self._rows: list[Row] = []
        self._random_state: dict[str, Any] | None = None
        self._configured: tuple[torch.optim.Optimizer, Any, list[dict[str, Any]]] | None = None
        self.label: str | None = None  # of the files that an evaluation writes
        self.trained_steps = 0  # of weights that were loaded, not trained by this Trainer

    def parts(self) -> dict[str, nn.Module]:
        """The parts that are modules, by name; the model first."""
        names = ("model", "loss", "predictor", "noise_schedule")
        return {name: part for name in names if isinstance(part := getattr(self, name), nn.Module)}

    def logged(self) -> list[str]:
        """The names of all that a training run logs; a subclass that logs more adds them."""
        kinds = (kind for split, kind in self.metric_sets if split == VALIDATION)
        metrics = (name for kind in kinds for name in self.metric_sets[VALIDATION, kind].updates)
        return [*(f"{VALIDATION}/{name}" for name in metrics), *(f"train/{name}" for name in self.track), "train/lr"]

    def _share_parts(self) -> None:
        """A part that holds another part (``loss.model``) refers to it, and does not own it a second time.

        Without this, a loss that is an ``nn.Module`` would put every weight of the model into the state dict twice.
        """
        parts = self.parts()
        for module in [module for part in parts.values() for module in part.modules()]:
            for name, child in list(module._modules.items()):
                if any(child is part for part in parts.values()):
                    del module._modules[name]
                    object.__setattr__(module, name, child)

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the name of the running hook some fifty times a step, and nn.Module would each time look
        # whether that text is a parameter.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    # -- setup ---------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        self._prepare()
        if self.trainer.world_size > 1:  # the same seed everywhere would corrupt and drop the same on each device
            torch.manual_seed(torch.initial_seed() + 1_000_003 * self.trainer.global_rank + self.trainer.global_step)
        if self._compile:
            self._loss_fn = torch.compile(self.loss.loss_fn)

    def on_test_start(self) -> None:
        self._prepare()

    def _prepare(self) -> None:
        for metric_set in self.metric_sets.values():
            metric_set.to(self.device)
        self.loss.configure(self)

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self.parts(), self._weight_decay, self._optimizer_groups)
        if not groups:
            raise ConfigError("The model has no trainable parameters: there is nothing to optimise.")
        optimizer = self._make_optimizer(groups)
        scheduler = self._make_lr_scheduler(optimizer) if self._make_lr_scheduler is not None else None
        self._configured = (optimizer, scheduler, group_options(optimizer))
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        if self._configured is not None and self.global_step > 0:  # a continued run
            keep_options(*self._configured)
        # Last: building and restoring have drawn numbers too. The saved state is the first process's.
        if self._random_state is not None and self.trainer.world_size == 1:
            checkpoints.restore_random_state(self._random_state)

    # -- training ------------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        output = self._loss_fn(batch)
        if not self._output_checked:  # at the first step only, of shapes and types: no step waits for the device
            check_loss_output(output, self.track)
            self._output_checked = True
        self._log_tracked(output, batch_idx)
        loss: Tensor = output["loss"]
        return loss

    # Lightning reads this signature at every step; worked out once, it costs a tenth of what a step's hooks cost.
    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]

    def _log_tracked(self, output: Mapping[str, Any], batch_idx: int) -> None:
        # Sums stay on the device, and Lightning's log is called only where it would write: no step waits for
        # the device, and a step costs one addition.
        for name in self.track:
            value = torch.as_tensor(output[name]).detach()
            self._tracked[name] = self._tracked[name] + value if name in self._tracked else value.clone()
        self._tracked_steps += 1
        # Of the batches whose gradients are accumulated, the last one makes the step.
        steps = (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0 or self.trainer.is_last_batch
        if steps and (self.global_step + 1) % log_interval(self.trainer) == 0:
            self.log_dict({f"train/{name}": total / self._tracked_steps for name, total in self._tracked.items()})
            self.log("train/lr", self.trainer.optimizers[0].param_groups[0]["lr"])
            self._tracked.clear()
            self._tracked_steps = 0

    # -- evaluation ----------------------------------------------------------------------------------------

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(VALIDATION, batch, dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(self.eval_split, batch, dataloader_idx)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> list[Row]:
        return self._to_rows(batch, self.predictor.predict(batch))

    def _to_rows(self, batch: Any, preds: Any) -> list[Row]:
        rows: list[Row] = self.predictor.to_dict(batch, preds)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ContractError(
                f"{type(self.predictor).__name__}.to_dict returned {_described(rows)}; expected a list with one dict "
                'a row, such as [{"text": "..."}].'
            )
        return rows

    def _evaluate(self, split: str, batch: Any, dataloader_idx: int) -> None:
        kind = self.eval_kinds[dataloader_idx]
        if kind is LoaderKind.LM:
            output = self.loss.loss_fn(batch)
        else:
            output = self.predictor.predict(batch)
            self._rows.extend(self._to_rows(batch, output))
        self.metric_sets[split, kind].update(batch, output)

    def on_validation_epoch_end(self) -> None:
        self._finish(VALIDATION)

    def on_test_epoch_end(self) -> None:
        self._finish(self.eval_split)

    def _finish(self, split: str) -> None:
        for kind in self.eval_kinds:
            metric_set = self.metric_sets[split, kind]
            self.log_dict({f"{split}/{name}": value for name, value in metric_set.compute().items()})
            metric_set.reset()
        rows, self._rows = self._rows, []
        if rows and self.run_dir is not None and self.trainer.is_global_zero and not self._trial():
            write_rows(rows_file(self.run_dir, split, self.global_step or self.trained_steps, self.label), rows)

    def _trial(self) -> bool:
        return writes_nothing(self.trainer) or self.trainer.sanity_checking

    # -- checkpoints ---------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoints.describe(checkpoint, self.config)
        checkpoint[checkpoints.RANDOM] = checkpoints.random_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._random_state = checkpoint.get(checkpoints.RANDOM)
        datamodule: Any = vars(self.trainer).get("datamodule")
        if hasattr(datamodule, "continue_from"):
            place = checkpoints.forget_loader(checkpoint, datamodule.num_workers)
            if place is not None:
                datamodule.continue_from(*place)


def check_loss_output(output: Any, track: Sequence[str]) -> None:
    """Check what ``loss_fn`` returned in training: a dict with a differentiable scalar under ``"loss"``.

    Args:
        output: the returned value.
        track: names that must be there too, each a scalar.

    Raises:
        ContractError: says what was returned instead.
    """
    expected = 'expected a dict with "loss", a scalar tensor that gradients flow through'
    if not isinstance(output, Mapping):
        raise ContractError(f"loss_fn returned {_described(output)}; {expected}.")
    for name in dict.fromkeys(["loss", *track]):
        if name in output:
            continue
        returned = ", ".join(map(str, output)) or "an empty dict"
        if name == "loss":
            raise ContractError(f"loss_fn returned no 'loss', only: {returned}; {expected}.")
        raise ContractError(
            f"harness.track names '{name}', but loss_fn returned only: {returned}. {did_you_mean(name, output)}\n"
            "Track one of these, or return it from loss_fn."
        )
    loss = output["loss"]
    if not _is_scalar(loss) or not loss.is_floating_point() or not loss.requires_grad:
        raise ContractError(f"loss_fn returned as 'loss' {_described(loss)}; {expected}.")
    for name in track:
        if not isinstance(output[name], (int, float)) and not _is_scalar(output[name]):
            raise ContractError(
                f"harness.track names '{name}', but loss_fn returned {_described(output[name])} there. "
                "What is tracked is a number or a scalar tensor."
            )


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 0


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a value of type {type(value).__name__}"
    detached = "" if value.requires_grad else " without gradient"
    return f"a tensor of shape {tuple(value.shape)}, {value.dtype}{detached}"
