"""Metrics: names, batches and weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torchmetrics import MeanMetric, SumMetric

from xlm_runtime.metrics import ExpMean, LoaderKind, MetricSet


def weighted(batch: Any, output: Any) -> dict[str, Any]:
    return {"value": output["value"], "weight": batch["weight"]}


def counted(batch: Any, output: Any) -> dict[str, Any]:
    return {"value": batch["weight"]}


def feed(metrics: MetricSet, *pairs: tuple[float, float]) -> MetricSet:
    for value, weight in pairs:
        metrics.update({"weight": torch.tensor(weight)}, {"value": torch.tensor(value)})
    return metrics


def values(metrics: MetricSet) -> dict[str, float]:
    return {name: value.item() for name, value in metrics.compute().items()}


def test_each_metric_has_its_own_update_function() -> None:
    metrics = MetricSet({"mean": MeanMetric(), "sum": SumMetric()}, {"mean": weighted, "sum": counted})
    assert values(feed(metrics, (1.0, 1.0), (2.0, 3.0))) == {"mean": pytest.approx(1.75), "sum": 4.0}


def test_exp_mean_is_the_exponential_of_the_weighted_mean() -> None:
    metrics = MetricSet({"perplexity": ExpMean()}, {"perplexity": weighted})
    expected = math.exp((1 * 1 + 2 * 3) / 4)  # not the mean of e and e^2
    assert values(feed(metrics, (1.0, 1.0), (2.0, 3.0))) == {"perplexity": pytest.approx(expected, rel=1e-6)}


def test_exp_mean_does_not_depend_on_how_tokens_are_cut_into_batches() -> None:
    nats = [0.5, 1.5, 2.0, 4.0]
    one = feed(MetricSet({"p": ExpMean()}, {"p": weighted}), (sum(nats) / 4, 4.0))
    four = feed(MetricSet({"p": ExpMean()}, {"p": weighted}), *[(value, 1.0) for value in nats])
    assert values(one)["p"] == pytest.approx(values(four)["p"], rel=1e-6)


def test_reset_forgets_all_batches() -> None:
    metrics = feed(MetricSet({"mean": MeanMetric()}, {"mean": weighted}), (100.0, 1.0))
    metrics.reset()
    assert values(feed(metrics, (1.0, 1.0))) == {"mean": 1.0}


def test_a_metric_that_saw_no_batch_has_no_value() -> None:
    metrics = MetricSet({"mean": MeanMetric()}, {"mean": weighted})
    assert metrics.compute() == {}
    feed(metrics, (1.0, 1.0)).reset()
    assert metrics.compute() == {}


def test_a_mean_over_nothing_has_no_value_and_a_nan_is_told() -> None:
    metrics = feed(MetricSet({"mean": MeanMetric()}, {"mean": weighted}), (3.0, 0.0), (4.0, 0.0))
    assert metrics.compute() == {}
    assert values(feed(metrics, (1.0, 2.0))) == {"mean": 1.0}
    metrics.reset()
    assert math.isnan(values(feed(metrics, (math.nan, 1.0)))["mean"])
    metrics.reset()
    assert metrics.compute() == {}


def test_a_set_without_metrics_is_allowed() -> None:
    assert values(feed(MetricSet({}, {}), (1.0, 1.0))) == {}


def test_metrics_move_with_their_set() -> None:
    metric = MeanMetric()
    MetricSet({"mean": metric}, {"mean": weighted}).to("meta")
    assert metric.device.type == "meta"


def test_the_loader_kinds_are_two() -> None:
    assert [str(kind) for kind in LoaderKind] == ["lm", "prediction"]


def test_what_goes_into_a_mean_can_be_kept() -> None:
    names = ("mean", "perplexity", "sum")
    updates = dict.fromkeys(names, weighted) | {"sum": counted}
    metrics = MetricSet({"mean": MeanMetric(), "perplexity": ExpMean(), "sum": SumMetric()}, updates)
    feed(metrics, (7.0, 1.0))  # before anybody asked
    kept = metrics.keep_terms()
    feed(metrics, (1.0, 1.0), (2.0, 3.0))
    metrics.reset()
    assert set(kept) == {"mean", "perplexity"}
    assert (kept["mean"].values, kept["mean"].weights, kept["mean"].per_row) == ([1.0, 2.0], [1.0, 3.0], False)
    assert kept["perplexity"].is_exponential and not kept["mean"].is_exponential


def test_rows_are_kept_one_by_one_and_nan_is_not() -> None:
    metrics = MetricSet({"mean": MeanMetric(nan_strategy="ignore")}, {"mean": weighted})
    kept = metrics.keep_terms()["mean"]
    metrics.update({"weight": torch.tensor([1.0, 2.0, 3.0])}, {"value": torch.tensor([0.0, float("nan"), 1.0])})
    assert (kept.values, kept.weights, kept.per_row) == ([0.0, 1.0], [1.0, 3.0], True)
