"""How sure a number of a finite sample is: 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: The standard normal's 97.5 % quantile.
Z = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A mean over a sample, and the interval around it.

    Attributes:
        value: the mean, or the share.
        low, high: the ends of the 95 % interval.
        count: the size of the sample.
    """

    value: float
    low: float
    high: float
    count: int


def wilson(hits: int, count: int) -> Estimate:
    """The share ``hits / count`` with Wilson's score interval, which stays within [0, 1] and has a width at 0 and 1.

    (E. B. Wilson, *Probable inference, the law of succession, and statistical inference*, JASA 22, 1927.)
    """
    if not 0 <= hits <= count or count < 1:
        raise ValueError(f"{hits} of {count} is no share: expected 0 <= hits <= count, and count >= 1.")
    share, spread = hits / count, Z * Z / count
    middle = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    # At the edges the formula gives the edge itself, less a rounding error.
    low = 0.0 if hits == 0 else middle - half
    high = 1.0 if hits == count else middle + half
    return Estimate(share, low, high, count)


def of_mean(values: Sequence[float]) -> Estimate:
    """The mean with the interval of a normal distribution: mean ± 1.96 s / √n; of one value, the value alone."""
    count = len(values)
    if not count:
        raise ValueError("There is no mean of no values.")
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean, mean, mean, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = Z * math.sqrt(variance / count)
    return Estimate(mean, mean - half, mean + half, count)
