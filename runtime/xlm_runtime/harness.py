"""The LightningModule: runs the loss and the predictor that it is given, and logs what they return.

    training_step -> loss.loss_fn(batch)["loss"]
    validation and test, loader of kind lm          -> loss.loss_fn   -> metrics.lm
    validation and test, loader of kind prediction  -> predictor.predict -> metrics.prediction, rows

A model that needs more subclasses Harness in its own repository and names it in ``harness._target_``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from xlm_runtime import checkpoint as checkpoints
from xlm_runtime import parts, processes, resume
from xlm_runtime.errors import ConfigError
from xlm_runtime.gradients import Gradients, check_weights, describe_batches
from xlm_runtime.metrics import LoaderKind, MetricSet
from xlm_runtime.optim import group_options, keep_options, parameter_groups
from xlm_runtime.part_outputs import check_loss_output, to_rows
from xlm_runtime.predictions import Row, rows_file, write_rows
from xlm_runtime.resume import Layout
from xlm_runtime.sharding import gathered, shard
from xlm_runtime.tracking import Tracked
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
        nonfinite: "stop" ends the run at a loss or gradient that is not finite, "skip" takes its gradient for zero.
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
        nonfinite: str,
        run_dir: Path | None,
        config: str,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.predictor = predictor
        self.noise_schedule = noise_schedule
        parts.share(self.parts())
        self.metric_sets = dict(metrics)  # a plain dict: metrics are no part of the weights
        self.eval_kinds = list(eval_kinds)
        self.eval_split = eval_split
        self._make_optimizer = optimizer
        self._weight_decay = weight_decay
        self._optimizer_groups = dict(optimizer_groups)
        self._make_lr_scheduler = lr_scheduler
        if isinstance(track, str):
            raise ConfigError(f"harness.track is '{track}'; expected a list of names: [{track}].")
        self.track = list(track)
        self.run_dir = run_dir
        self.config = config
        self._compile = compile
        self._loss_fn: Callable[[Any], dict[str, Any]] = loss.loss_fn
        self._output_checked = False
        self._tracked = Tracked(self.track)
        self._gradients = Gradients(nonfinite, self._describe_batches)
        self._rows: list[Row] = []
        self._random_state: dict[str, Any] | None = None
        self._named_parameters: list[tuple[str, nn.Parameter]] = []
        self._whole_weights = ExitStack()
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
        parts.configure(self.loss, self)

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

    def configure_model(self) -> None:
        if self.device_mesh is not None and not self._named_parameters:
            shard(self.parts(), self.device_mesh["data_parallel"])

    def on_train_start(self) -> None:
        self._named_parameters = list(self.named_parameters())  # asked for at every step
        if self._configured is not None and self.global_step > 0:  # a continued run
            keep_options(*self._configured)
        # Last: building and restoring have drawn numbers too.
        if self._random_state is not None:
            resume.restore_random_state(self._random_state)

    # -- training ------------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        output = self._loss_fn(batch)
        if not self._output_checked:  # at the first step only, of shapes and types: no step waits for the device
            check_loss_output(output, self.track)
            self._output_checked = True
        loss: Tensor = output["loss"]
        batch_of_epoch = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready - 1
        self._gradients.saw(loss, (self.trainer.current_epoch, batch_of_epoch))
        if self._shared_steps():
            loss = self._tracked.weigh(output)
        else:
            self._tracked.add(output)
            self._log_when_due()
        return loss

    # Lightning reads this signature at every step; worked out once, it costs a tenth of what a step's hooks cost.
    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]

    def _shared_steps(self) -> bool:
        """Whether several batches make a step: each then counts for its tokens."""
        return self.trainer.world_size > 1 or self.trainer.accumulate_grad_batches > 1

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        factor = None
        if self._shared_steps():
            factor = self._tracked.close(self.trainer.world_size) * self.trainer.accumulate_grad_batches
            self._log_when_due()
        self._gradients.prepare(
            self._named_parameters,
            self.global_step + 1,
            factor=factor,
            clip=gradient_clip_val,
            by_value=str(gradient_clip_algorithm or "norm").endswith("value"),
            scaled=getattr(self.trainer.precision_plugin, "scaler", None) is not None,
            shared=self.trainer.world_size > 1,
        )

    def _log_when_due(self) -> None:
        # Lightning's log is called only where it would write: no step waits for the device.
        if (self.global_step + 1) % log_interval(self.trainer):
            return
        self._gradients.look()
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        values = {**{f"train/{name}": mean for name, mean in self._tracked.means().items()}, "train/lr": rate}
        self.log_dict(values, logger=False)  # for callbacks, which read them after the step
        # Written before the step's checkpoint, not after it: a run that is killed in between would lose the row.
        for logger in self.trainer.loggers:
            logger.log_metrics({name: float(value) for name, value in values.items()}, self.global_step)

    def _describe_batches(self, epoch: int, batches: Sequence[int]) -> str:
        datamodule: Any = vars(self.trainer).get("datamodule")
        return describe_batches(epoch, batches, getattr(datamodule, "examples_of", None))

    # -- evaluation ----------------------------------------------------------------------------------------

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(VALIDATION, batch, dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(self.eval_split, batch, dataloader_idx)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> list[Row]:
        return to_rows(self.predictor, batch, self.predictor.predict(batch))

    def _evaluate(self, split: str, batch: Any, dataloader_idx: int) -> None:
        kind = self.eval_kinds[dataloader_idx]
        if kind is LoaderKind.LM:
            output = self.loss.loss_fn(batch)
        else:
            output = self.predictor.predict(batch)
            self._rows.extend(to_rows(self.predictor, batch, output))
        self.metric_sets[split, kind].update(batch, output)

    def on_validation_epoch_start(self) -> None:
        self._whole_weights.enter_context(gathered(self.parts()))

    def on_validation_epoch_end(self) -> None:
        self._whole_weights.close()
        self._finish(VALIDATION)

    def on_test_epoch_end(self) -> None:
        self._finish(self.eval_split)

    def _finish(self, split: str) -> None:
        for kind in self.eval_kinds:
            metric_set = self.metric_sets[split, kind]
            self.log_dict({f"{split}/{name}": value for name, value in metric_set.compute().items()})
            metric_set.reset()
        rows, self._rows = processes.interleaved(processes.gather(self._rows)), []
        if rows and self.run_dir is not None and self.trainer.is_global_zero and not self._trial():
            write_rows(rows_file(self.run_dir, split, self.global_step or self.trained_steps, self.label), rows)

    def _trial(self) -> bool:
        return writes_nothing(self.trainer) or self.trainer.sanity_checking

    # -- checkpoints ---------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._gradients.look()
        check_weights(
            {name: checkpoint["state_dict"].get(name) for name, _ in self._named_parameters}, self.global_step
        )
        checkpoints.describe(checkpoint, self.config)
        resume.put(checkpoint, self._layout(), self._tracked.state_dict())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        tracked = checkpoint.get(resume.KEY, {}).get("tracked")
        if tracked is not None:
            self._tracked.load_state_dict(tracked, self.device)
        self._random_state, place = resume.take(checkpoint, self._layout(), self.global_rank)
        if place is not None:
            vars(self.trainer)["datamodule"].continue_from(*place)

    def _layout(self) -> Layout:
        datamodule: Any = vars(self.trainer).get("datamodule")
        workers, batch_size, stream = (getattr(datamodule, n, 0) for n in ("num_workers", "batch_size", "streaming"))
        return Layout(self.trainer.world_size, workers, batch_size, bool(stream))
