"""How sure a number of a finite sample is: 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: The standard normal's 97.5 % quantile.
Z = 1.959963984540054

#: Samples that the bootstrap draws: its ends then vary by about a thirtieth of the interval's width.
RESAMPLES = 2000


#: How the ends of an interval were found, for readers.
METHODS = {"wilson": "Wilson", "normal": "mean ± 1.96 s / √n", "bootstrap": "bootstrap"}
#: The method of a value that no interval is known of.
NONE = "none"


@dataclass(frozen=True)
class Estimate:
    """A mean over a sample, and the interval around it.

    Attributes:
        value: the mean, or the share.
        low, high: the ends of the 95 % interval.
        count: the size of the sample.
        method: how they were found: "wilson", "normal" or "bootstrap"; "none": there is no interval, and they are the
            value.
        unit: what the sample is one of: "rows" or "batches".
    """

    value: float
    low: float
    high: float
    count: int
    method: str = "normal"
    unit: str = "rows"

    @property
    def known(self) -> bool:
        """Whether there is an interval: one value says nothing of how others differ, unless it is a share."""
        return self.method == "wilson" or (self.method != NONE and self.count != 1)

    @property
    def counted(self) -> str:
        """Over what the value is, and how the interval was found: ``64 rows, Wilson``."""
        unit = {"rows": "row", "batches": "batch"}.get(self.unit, self.unit) if self.count == 1 else self.unit
        return f"{self.count:,} {unit}" + (f", {METHODS.get(self.method, self.method)}" if self.known else "")


def without(value: float, count: int, unit: str = "rows") -> Estimate:
    """A value over ``count`` of which no interval is known."""
    return Estimate(value, value, value, count, NONE, unit)


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
    return Estimate(share, low, high, count, "wilson")


def of_mean(values: Sequence[float]) -> Estimate:
    """The mean with the interval of a normal distribution: mean ± 1.96 s / √n; of one value, none."""
    count = len(values)
    if not count:
        raise ValueError("There is no mean of no values.")
    mean = math.fsum(values) / count
    if count == 1:
        return without(mean, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = Z * math.sqrt(variance / count)
    return Estimate(mean, mean - half, mean + half, count)


def bootstrap(
    values: Sequence[float],
    weights: Sequence[float] | None = None,
    transform: Callable[[float], float] = float,
    unit: str = "rows",
) -> Estimate:
    """A weighted mean, or a monotone function of it, with the percentile interval of the bootstrap; of one value, none.

    The sample is drawn anew with replacement, each value with its weight, so that a mean over tokens has the interval
    of the rows that the tokens came in. The draws are the same in every call.

    (B. Efron, *Bootstrap methods: another look at the jackknife*, Annals of Statistics 7, 1979.)

    Args:
        values: one a row or batch.
        weights: of each; None: all the same.
        transform: of the mean, monotone: ``math.exp`` makes nats per token a perplexity.
        unit: what a value belongs to, "rows" or "batches".

    Raises:
        ValueError: no values, or weights that sum to nothing.
    """
    import numpy as np  # not needed by pages without such numbers

    value = np.asarray(values, dtype=np.float64)
    weight = np.ones_like(value) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(value) or weight.sum() <= 0:
        raise ValueError("There is no mean of no values, or of weights that sum to nothing.")
    found = transform(float(np.dot(value, weight) / weight.sum()))
    if len(value) == 1:
        return without(found, 1, unit)
    generator = np.random.default_rng(0)
    products, means = value * weight, np.empty(RESAMPLES)
    for place in range(RESAMPLES):
        drawn = generator.integers(0, len(value), len(value))
        total = weight[drawn].sum()
        means[place] = products[drawn].sum() / total if total > 0 else np.nan  # rows of no weight alone
    low, high = (transform(float(end)) for end in np.nanquantile(means, [0.025, 0.975]))
    # Where all values are alike, the means of the samples differ by rounding errors.
    return Estimate(found, min(low, found), max(high, found), len(value), "bootstrap", unit)
