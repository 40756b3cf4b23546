"""How long texts are, and how much they repeat themselves and one another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from xlm_runtime.predictions import Row
from xlm_runtime.report.intervals import Estimate, bootstrap

Values = dict[str, float | Estimate]


def length(rows: Sequence[Row]) -> Values:
    """``mean``, ``min`` and ``max`` of the rows' tokens: their ``ids``, or the words of ``text`` where a row has none.

    The mean has an interval, over rows. Empty if no row has either.
    """
    counts = [len(tokens) for tokens in _sequences(rows)]
    if not counts:
        return {}
    return {"mean": bootstrap(counts), "min": min(counts), "max": max(counts)}


def diversity(rows: Sequence[Row]) -> Values:
    """How much is said twice.

    - ``distinct_1``, ``distinct_2``, ``distinct_3``: different n-grams over all n-grams of all rows; 1 if none stands
      twice. (Li et al., arXiv 1510.03055.) It falls with the number of tokens: compare equally many rows.
    - ``unique``: different texts over all texts.
    - ``entropy``: the mean over rows of -sum p log p, p being the share of each token in the row's own tokens, in nats;
      0 for a row that says one token over and over. It has an interval, over rows.

    Tokens are a row's ``ids``, or the words of ``text`` where no row has ids. What a row does not have is left out.
    The others have no interval: drawing rows twice, as the bootstrap does, makes them smaller by itself.
    """
    sequences = _sequences(rows)
    found: Values = {}
    for size in (1, 2, 3):
        grams = Counter(gram for tokens in sequences for gram in zip(*(tokens[n:] for n in range(size)), strict=False))
        if grams:
            found[f"distinct_{size}"] = len(grams) / grams.total()
    texts = [row["text"] for row in rows if isinstance(row.get("text"), str)]
    if texts:
        found["unique"] = len(set(texts)) / len(texts)
    entropies = [_entropy(tokens) for tokens in sequences if tokens]
    if entropies:
        found["entropy"] = bootstrap(entropies)
    return found


def _sequences(rows: Sequence[Row]) -> list[Sequence[Hashable]]:
    ids = [row["ids"] for row in rows if isinstance(row.get("ids"), list)]
    return ids or [row["text"].split() for row in rows if isinstance(row.get("text"), str)]


def _entropy(tokens: Sequence[Hashable]) -> float:
    counts = Counter(tokens)
    return -math.fsum(n / len(tokens) * math.log(n / len(tokens)) for n in counts.values())
