"""Intervals against published and known values."""

from __future__ import annotations

import math

import pytest

from xlm_runtime.report.intervals import Estimate, bootstrap, of_mean, wilson


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    ],
)
def test_wilson(hits: int, count: int, low: float, high: float) -> None:
    found = wilson(hits, count)
    assert (found.value, found.count) == (hits / count, count)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize(("hits", "count"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_share_is_refused(hits: int, count: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(hits, count)


def test_a_mean_has_the_interval_of_a_normal_distribution() -> None:
    found = of_mean([1, 2, 3, 4])
    half = 1.959963984540054 * math.sqrt((5 / 3) / 4)
    assert (found.low, found.value, found.high) == pytest.approx((2.5 - half, 2.5, 2.5 + half))
    assert found.known and not of_mean([7]).known


def test_the_bootstrap_of_many_values_is_near_the_normal_interval() -> None:
    values = [math.sin(7 * n) for n in range(400)]
    normal, found = of_mean(values), bootstrap(values)
    assert found.value == pytest.approx(normal.value)
    assert (found.low, found.high) == pytest.approx((normal.low, normal.high), abs=0.1 * (normal.high - normal.low))
    assert (found.method, found.unit, found.count) == ("bootstrap", "rows", 400)
    assert found == bootstrap(values)  # the same draws in every call


def test_a_row_counts_for_its_weight_and_one_without_for_nothing() -> None:
    found = bootstrap([1.0, 4.0, 9.0], [3.0, 1.0, 0.0])
    assert found.value == pytest.approx(7 / 4)
    assert (found.low, found.high) == (1.0, 4.0)  # samples of the first alone, of the second alone


def test_a_function_of_the_mean_has_the_ends_of_the_mean() -> None:
    values = [0.5, 1.0, 2.5, 1.5]
    plain, found = bootstrap(values), bootstrap(values, transform=math.exp, unit="batches")
    assert (found.low, found.value, found.high) == pytest.approx(
        tuple(map(math.exp, (plain.low, plain.value, plain.high)))
    )
    assert found.unit == "batches"


def test_what_has_no_mean_is_refused_and_one_value_has_no_interval() -> None:
    one = bootstrap([3.0], unit="batches")
    assert (one.value, one.known, one.counted) == (3.0, False, "1 batch")
    assert wilson(1, 1).known and wilson(1, 1).counted == "1 row, Wilson"
    assert not Estimate(3.0, 3.0, 3.0, 1, "bootstrap").known  # as a metrics.json of before has it
    for values, weights in (([], None), ([1.0], [0.0])):
        with pytest.raises(ValueError, match="no mean"):
            bootstrap(values, weights)
