"""Metrics: a torchmetrics object and the function that turns a batch and an output into its arguments.

A model states its metrics once, in its ``model_type`` config, by loader kind::

    metrics:
      lm:
        loss: {metric: {_target_: torchmetrics.MeanMetric}, update: my_model.metrics_my_model.nll}
      prediction:
        exact_match: {metric: {_target_: torchmetrics.MeanMetric}, update: my_model.metrics_my_model.exact_match}

``update(batch, output) -> dict`` gives the keyword arguments of ``metric.update``; ``output`` is what
``loss_fn`` (kind ``lm``) or ``predict`` (kind ``prediction``) returned. A third key, ``means``, is a few words on what
the number is, such as ``means: "exact"`` of a perplexity; an evaluation says them beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from xlm_runtime import processes
from xlm_runtime.errors import ContractError

UpdateFunction = Callable[[Any, Any], dict[str, Any]]


class LoaderKind(StrEnum):
    """What a loader's batches are for."""

    LM = "lm"  # the loss runs on them
    PREDICTION = "prediction"  # the predictor runs on them


class ExpMean(MeanMetric):
    """exp of a weighted mean. Given nats per token and token counts as weights, this is perplexity."""

    def compute(self) -> Tensor:
        return torch.exp(super().compute())


@dataclass
class Terms:
    """What went into a mean, so that an evaluation can say how sure the mean is.

    Attributes:
        is_exponential: the metric is exp of the mean.
        values, weights: one a row, or one a batch where the update function gave a scalar.
        per_row: which of both.
    """

    is_exponential: bool
    values: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    per_row: bool = True

    def add(self, value: Any, weight: Any = 1.0) -> None:
        """Take in the arguments of one update of a MeanMetric; a NaN is left out, as the metric does."""
        values = torch.as_tensor(value).detach().double().cpu()
        weights = torch.as_tensor(weight).detach().double().cpu().broadcast_to(values.shape)
        self.per_row &= values.dim() > 0
        known = ~values.isnan()
        self.values += values[known].tolist()
        self.weights += weights[known].tolist()


class MetricSet(nn.Module):
    """The metrics of one loader kind in one split.

    Args:
        metrics: metric objects by name.
        updates: the update function of each.
    """

    def __init__(self, metrics: Mapping[str, Metric], updates: Mapping[str, UpdateFunction]) -> None:
        super().__init__()
        self.metrics = nn.ModuleDict(metrics)
        self.updates = dict(updates)
        self._weights: dict[str, Tensor] = {}  # the sum of those that were given, by metric
        self._terms: dict[str, Terms] = {}  # of the means, where an evaluation asked for them

    def keep_terms(self) -> dict[str, Terms]:
        """From now on, keep what goes into each mean, by metric: two numbers a row. ``reset`` forgets none of it."""
        means = {name: metric for name, metric in self._metrics() if type(metric) in (MeanMetric, ExpMean)}
        self._terms = {name: Terms(isinstance(metric, ExpMean)) for name, metric in means.items()}
        return self._terms

    def update(self, batch: Any, output: Any) -> None:
        """Take in one batch and what the loss or the predictor made of it."""
        for name, update in self.updates.items():
            metric = self.metrics[name]
            assert isinstance(metric, Metric)
            arguments = _checked(name, update, update(batch, output))
            if arguments.get("weight") is not None:
                self._weights[name] = self._weights.get(name, 0) + torch.as_tensor(arguments["weight"]).sum()
            try:
                metric.update(**arguments)
            except (TypeError, ValueError) as error:
                given = ", ".join(f"{key}: {type(value).__name__}" for key, value in arguments.items())
                raise ContractError(
                    f"The metric '{name}' ({type(metric).__name__}) cannot be updated with what {_path(update)} "
                    f"returned ({given}): {error}"
                ) from error
            if name in self._terms:
                self._terms[name].add(**arguments)

    def compute(self) -> dict[str, Tensor]:
        """Every metric's value over all batches since the last reset; 0-dimensional tensors.

        A metric that saw no batch is left out, and so is a mean all of whose weights were zero, such as the exact match
        of rows without a truth: it has no value.
        """
        everyone = processes.gather((self._updated(), {name: float(sum_) for name, sum_ in self._weights.items()}))
        updated = set().union(*(names for names, _ in everyone))
        weights = {name: [sums[name] for _, sums in everyone if name in sums] for name in updated}
        # Every process asks every metric, or those that saw a batch would wait for those that saw none.
        values = {name: metric.compute() for name, metric in self._metrics() if name in updated}
        return {name: value for name, value in values.items() if not _is_of_nothing(weights[name], value)}

    def reset(self) -> None:
        """Forget all batches."""
        for _, metric in self._metrics():
            metric.reset()
        self._weights.clear()

    def _updated(self) -> set[str]:
        return {name for name, metric in self._metrics() if metric.update_called}

    def _metrics(self) -> list[tuple[str, Metric]]:
        return [(name, metric) for name, metric in self.metrics.items() if isinstance(metric, Metric)]


def _is_of_nothing(weights: list[float], value: Tensor) -> bool:
    # A NaN with any weight is one, and is told.
    return bool(weights) and not any(weights) and bool(value.isnan().any())


def _checked(name: str, update: UpdateFunction, arguments: Any) -> dict[str, Any]:
    if isinstance(arguments, dict) and all(isinstance(key, str) for key in arguments):
        return arguments
    raise ContractError(
        f"{_path(update)}, the update function of the metric '{name}', returned a value of type "
        f"{type(arguments).__name__}; expected the keyword arguments of the metric's update(), such as "
        '{"value": ..., "weight": ...}.'
    )


def _path(function: UpdateFunction) -> str:
    return f"{function.__module__}.{function.__qualname__}"
