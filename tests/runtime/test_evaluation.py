"""Evaluators as a configuration names them, and intervals of metrics from what went into them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from omegaconf import OmegaConf

from xlm_runtime.errors import ComponentError, ConfigError, ContractError, UnknownKeyError
from xlm_runtime.evaluation import ALWAYS, build_evaluators, evaluate, lines, settings, with_intervals
from xlm_runtime.metrics import Terms
from xlm_runtime.metrics_file import Number
from xlm_runtime.report.intervals import wilson

HERE = __name__


def share(rows: list[dict[str, Any]], letter: str = "a") -> dict[str, float]:
    return {"share": sum(letter in row["text"] for row in rows) / len(rows)}


class Counted:
    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {"rows": sum(self.key in row for row in rows)}


class Mute:
    pass


def nothing(rows: list[dict[str, Any]]) -> None:
    return None


def words(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"best": rows[0]["text"]}


def infinite(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {"loss": math.inf}


def raises(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {"share": rows[0]["no such key"]}


ROWS = [{"text": "a b"}, {"text": "b"}]


def found(*nodes: Any) -> dict[str, float]:
    evaluators = build_evaluators(OmegaConf.create({"evaluators": list(nodes)}))
    return {name: number.value for name, number in evaluate(evaluators, ROWS).items()}


def test_functions_and_classes_with_and_without_settings() -> None:
    assert found(
        f"{HERE}.share",
        {"_target_": f"{HERE}.share", "letter": "b", "name": "with_b"},
        {"_target_": f"{HERE}.Counted", "key": "text"},
    ) == {"share/share": 0.5, "with_b/share": 1.0, "Counted/rows": 2}


def test_the_record_says_with_which_settings() -> None:
    cfg = OmegaConf.create(
        {"evaluators": [f"{HERE}.share", {"_target_": f"{HERE}.share", "letter": "b", "name": "two"}]}
    )
    names = list(build_evaluators(cfg))
    assert settings(cfg, names)["two"]["letter"] == "b" and settings(cfg, names)["share"]["_target_"] == f"{HERE}.share"


@pytest.mark.parametrize(
    ("nodes", "error", "message"),
    [
        ([f"{HERE}.shore"], ComponentError, "has no 'shore'. Did you mean 'share'"),
        (["share"], ComponentError, r"'share' \(config key 'evaluators.0'\): it is no dotted path"),
        ([f"{HERE}.ROWS"], ComponentError, "expected a class or a function"),
        ([f"{HERE}.Counted"], ComponentError, r"needs the argument key: set evaluators.0.key"),
        ([f"{HERE}.Mute"], ComponentError, "makes a Mute, which cannot be called"),
        ([{"_target_": f"{HERE}.share", "lettre": "b"}], UnknownKeyError, "takes no argument 'lettre'.*'letter'"),
        ([f"{HERE}.share", f"{HERE}.share"], ConfigError, "two of the name 'share'.*share_2"),
        ([3], ConfigError, r"evaluators.0 is 3. Expected evaluators=\[package.module.function\]"),
        ([{"letter": "b"}], ConfigError, "evaluators.0 is .* with _target_"),
    ],
)
def test_what_cannot_be_made_is_told_before_anything_runs(
    nodes: list[Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build_evaluators(OmegaConf.create({"evaluators": nodes}))


def test_one_that_is_no_list() -> None:
    with pytest.raises(ConfigError, match=r"evaluators is 'a\.b'\. Expected"):
        build_evaluators(OmegaConf.create({"evaluators": "a.b"}))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nothing", ContractError, "returned nothing. Expected numbers by name"),
        ("words", ContractError, "returned 'a b', a str, for 'best'"),
        ("infinite", ContractError, "returned inf, a float, for 'loss'.*no finite number is left out"),
        ("raises", ComponentError, "raised KeyError: 'no such key'"),
    ],
)
def test_what_returns_no_numbers_is_told(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        found(f"{HERE}.{name}")


def test_intervals_of_shares_of_means_and_of_functions_of_them() -> None:
    terms = {
        "right": Terms(False, [1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]),
        "accuracy": Terms(False, [0.5, 0.0], [2.0, 6.0]),
        "perplexity": Terms(True, [0.0, 2.0] * 5, [1.0] * 10, per_row=False),
        "few_batches": Terms(False, [2.0, 3.0, 4.0], [1.0] * 3, per_row=False),
        "other": Terms(False, [1.0, 2.0], [1.0, 1.0]),
    }
    values = {"right": 0.75, "accuracy": 0.125, "perplexity": math.e, "few_batches": 3.0, "other": 9.0, "sum": 4.0}
    numbers = with_intervals(values, terms, {"perplexity": "exact"})
    assert numbers["right"].estimate == wilson(3, 4)
    accuracy, perplexity = numbers["accuracy"].estimate, numbers["perplexity"].estimate
    assert accuracy is not None and (accuracy.low, accuracy.high, accuracy.unit) == (0.0, 0.5, "rows")
    assert perplexity is not None and 1.0 < perplexity.low < math.e < perplexity.high < math.e**2
    assert perplexity.unit == "batches" and numbers["perplexity"].means == "exact"
    # Few batches say little of others; and where the terms do not make the value, they are not its.
    assert numbers["few_batches"].estimate is numbers["other"].estimate is numbers["sum"].estimate is None


def test_one_row_has_no_interval() -> None:
    numbers = evaluate(ALWAYS, [{"text": "ab", "ids": [1, 2]}])
    assert numbers["length/mean"].value == 2 and numbers["length/mean"].estimate is None
    assert "low" not in numbers["length/mean"].as_json()


def test_a_line_says_value_interval_and_meaning() -> None:
    numbers = {"exact_match": Number(0.8, wilson(8, 10)), "perplexity": Number(2.5, means="exact")}
    assert lines("test", numbers) == [
        "  test/exact_match  0.8  [0.4902, 0.9433]",
        "  test/perplexity   2.5  (exact)",
    ]
