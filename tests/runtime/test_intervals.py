"""Intervals against published and known values."""

from __future__ import annotations

import math

import pytest

from xlm_runtime.report.intervals import of_mean, wilson


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
    assert (of_mean([7]).low, of_mean([7]).high) == (7, 7)
