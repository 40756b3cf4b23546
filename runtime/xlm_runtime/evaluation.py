"""From rows and from what went into metrics to numbers with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from xlm_runtime.build import make
from xlm_runtime.errors import ComponentError, ConfigError, ContractError, XlmError
from xlm_runtime.evaluators import diversity, length
from xlm_runtime.locate import locate
from xlm_runtime.metrics import Terms
from xlm_runtime.metrics_file import Number
from xlm_runtime.predictions import Row
from xlm_runtime.report.intervals import Estimate, bootstrap, wilson

Evaluator = Callable[[list[Row]], Mapping[str, Any]]

#: Of every evaluation that has rows.
ALWAYS: dict[str, Evaluator] = {"length": length, "diversity": diversity}

#: Fewer do not say how batches differ: of three draws the bootstrap sees ten different means.
FEWEST_BATCHES = 10

_EXPECTED = "Expected evaluators=[package.module.function], or nodes with _target_ and the settings of one."


def build_evaluators(cfg: DictConfig) -> dict[str, Evaluator]:
    """What ``evaluators`` names, ready to be called with rows, by the last word of its path or its ``name``.

    Raises:
        ConfigError: no list of paths and nodes, or one name twice.
        ComponentError: a path that leads nowhere, or to what cannot be called.
    """
    nodes = cfg.get("evaluators")
    if nodes is None:
        return {}
    if not OmegaConf.is_list(nodes):
        raise ConfigError(f"evaluators is {nodes!r}. {_EXPECTED}")
    found: dict[str, Evaluator] = {}
    for place in range(len(nodes)):
        name, evaluator = _build(cfg, place)
        if name in found:
            raise ConfigError(
                f"evaluators holds two of the name '{name}'. Give one of them another: "
                f"{{_target_: ..., name: {name}_2}}."
            )
        found[name] = evaluator
    return found


def _build(cfg: DictConfig, place: int) -> tuple[str, Evaluator]:
    node, key = cfg.evaluators[place], f"evaluators.{place}"
    if isinstance(node, str):
        with open_dict(cfg):
            cfg.evaluators[place] = node = OmegaConf.create({"_target_": node})
    if not OmegaConf.is_dict(node) or not node.get("_target_"):
        raise ConfigError(f"{key} is {node!r}. {_EXPECTED}")
    path = str(node._target_)
    target = locate(path, f"config key '{key}'")
    made = make(cfg, key, leave=("name",), _partial=not isinstance(target, type))
    if not callable(made):
        raise ComponentError(f"'{path}' (config key '{key}') makes a {type(made).__name__}, which cannot be called.")

    def evaluator(rows: list[Row]) -> Mapping[str, Any]:
        try:
            values = made(rows)
        except XlmError:
            raise
        except Exception as error:  # of code that the runtime does not know
            raise ComponentError(
                f"The evaluator {path} raised {type(error).__name__}: {error}\nXLM_TRACEBACK=1 shows where."
            ) from error
        return _checked(path, values)

    return str(node.get("name") or path.rpartition(".")[2]), evaluator


def _checked(path: str, values: Any) -> Mapping[str, Any]:
    expected = "Expected numbers by name, as in {'share': 0.5}."
    if not isinstance(values, Mapping) or not values:
        shown = "nothing" if values is None else repr(values)[:60]
        raise ContractError(f"The evaluator {path} returned {shown}. {expected}")
    for name, value in values.items():
        number = value.value if isinstance(value, Estimate) else value
        if not isinstance(name, str) or not isinstance(number, Real) or not math.isfinite(number):
            raise ContractError(
                f"The evaluator {path} returned {repr(value)[:60]}, a {type(value).__name__}, for {name!r}. {expected} "
                "Of a tensor, that is tensor.item(); what is no finite number is left out."
            )
    return values


def evaluate(evaluators: Mapping[str, Evaluator], rows: list[Row]) -> dict[str, Number]:
    """What evaluators say of rows, as ``<evaluator>/<name>``."""
    found: dict[str, Number] = {}
    for name, evaluator in evaluators.items():
        for key, value in evaluator(rows).items():
            estimate = value if isinstance(value, Estimate) else None
            number = _plain(estimate.value if estimate else value)
            found[f"{name}/{key}"] = Number(number, estimate if estimate is not None and estimate.known else None)
    return found


def _plain(value: Any) -> float:
    return value if type(value) is int else float(value)


def with_intervals(
    values: Mapping[str, float], terms: Mapping[str, Terms], means: Mapping[str, str | None]
) -> dict[str, Number]:
    """Metrics with the intervals of the means among them, and with the words on what they are.

    Args:
        values: by metric, as they were computed.
        terms: what went into means.
        means: what the configuration says of a metric.
    """
    found = {}
    for name, value in values.items():
        estimate = _estimate(terms[name]) if name in terms else None
        if estimate is not None and not math.isclose(estimate.value, value, rel_tol=1e-3, abs_tol=1e-6):
            estimate = None  # a sum in another order differs by less
        found[name] = Number(value, estimate, means.get(name))
    return found


def _estimate(terms: Terms) -> Estimate | None:
    pairs = [(value, weight) for value, weight in zip(terms.values, terms.weights, strict=True) if weight > 0]
    values = [value for value, _ in pairs]
    if len(pairs) < (2 if terms.per_row else FEWEST_BATCHES):
        return None
    if terms.per_row and set(values) <= {0.0, 1.0} and all(weight == 1 for _, weight in pairs):
        return wilson(round(sum(values)), len(values))
    unit = "rows" if terms.per_row else "batches"
    return bootstrap(values, [weight for _, weight in pairs], math.exp if terms.is_exponential else float, unit)


def lines(split: str, numbers: Mapping[str, Number]) -> list[str]:
    """A line a metric: name, value, interval, and what it is."""
    width = max((len(f"{split}/{name}") for name in numbers), default=0)
    found = []
    for name, number in numbers.items():
        estimate = number.estimate
        interval = f"  [{estimate.low:.4g}, {estimate.high:.4g}]" if estimate is not None else ""
        means = f"  ({number.means})" if number.means else ""
        found.append(f"  {f'{split}/{name}':<{width}}  {number.value:.6g}{interval}{means}")
    return found


def settings(cfg: DictConfig, names: Sequence[str]) -> dict[str, Any]:
    """The configuration of each evaluator by name, for the record: which model has judged, for example."""
    nodes: Any = OmegaConf.to_container(cfg.evaluators, resolve=True) if names else []
    return dict(zip(names, nodes, strict=True))
