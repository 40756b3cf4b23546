"""MLM's samplers draw from the laws that they should: χ² tests of 20,000 draws against exact distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from mlm.predictor_mlm import MlmPredictor
from tabulated import (
    TOKENIZER,
    Tabulated,
    blank_batch,
    follow,
    frequencies,
    independent,
    joint,
    p_value,
    posterior,
    text_law,
    uniform_sets,
)
from torch import Tensor

DRAWS = 20_000

#: Each fills one blank a step, in an order of its own; all of them then draw from the joint law.
ONE_BY_ONE: list[dict[str, Any]] = [
    {"method": "random"},
    {"method": "confidence", "confidence": "top_prob"},
    {"method": "confidence", "confidence": "margin"},
    {"method": "confidence", "confidence": "entropy"},
    {"method": "confidence", "confidence_noise": 2.0},
    {"method": "threshold", "gamma": 0.0},
    {"method": "random", "block_size": 2},
    {"method": "confidence", "block_size": 1},
]


def drawn(table: Tensor, **options: Any) -> Tensor:
    """How often each text was drawn."""
    predictor = MlmPredictor(Tabulated(table), TOKENIZER, **{"temperature": 1.0, "seed": 7, **options})
    return frequencies(predictor.predict(blank_batch(DRAWS))["ids"])


@pytest.mark.parametrize("options", ONE_BY_ONE, ids=str)
def test_one_blank_a_step_draws_from_the_joint_law(options: dict[str, Any]) -> None:
    """Catches words drawn from stale logits, draws that share their noise, and an order that looks at the words."""
    p = joint()
    assert p_value(drawn(posterior(p), **options), text_law(p)) > 1e-3


def test_several_blanks_a_step_are_drawn_independently() -> None:
    """Two steps over three blanks: a uniform pair, then the last one. The joint law is another one, and is refused."""
    p = joint()
    table = posterior(p)
    counts = drawn(table, method="random", steps=2)
    assert p_value(counts, follow(Tabulated(table), [uniform_sets(2), uniform_sets(1)])) > 1e-3
    assert p_value(counts, text_law(p)) < 1e-6


def test_a_wide_threshold_fills_everything_at_once() -> None:
    """Catches a threshold that keeps to one blank a step."""
    table = posterior(joint())
    counts = drawn(table, method="threshold", gamma=100.0)
    assert p_value(counts, follow(Tabulated(table), [uniform_sets(3)])) > 1e-3


def test_independent_words_may_be_filled_together() -> None:
    """Catches blanks of one step that share a draw."""
    p = independent()
    assert p_value(drawn(posterior(p), method="confidence", steps=2), text_law(p)) > 1e-3


def without_least(log_p: Tensor) -> Tensor:
    """The two likeliest words of three."""
    return log_p.masked_fill(log_p == log_p.min(-1, keepdim=True).values, -torch.inf).log_softmax(-1)


def nucleus(log_p: Tensor) -> Tensor:
    """The likeliest words whose mass reaches 0.7, the one that crosses it included."""
    p, words = log_p.exp().sort(-1, descending=True)
    kept = torch.zeros_like(p).scatter(-1, words, (p.cumsum(-1) - p < 0.7).double())
    return log_p.masked_fill(kept == 0, -torch.inf).log_softmax(-1)


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"temperature": 0.5}, lambda log_p: (2 * log_p).log_softmax(-1)),
        ({"top_k": 2}, without_least),
        ({"top_p": 0.7}, nucleus),
    ],
    ids=["temperature", "top_k", "top_p"],
)
def test_sampling_options_change_the_conditionals(options: dict[str, Any], change: Callable[[Tensor], Tensor]) -> None:
    """Catches an option that does not reach the draw, or acts on probabilities as if they were logits."""
    table = posterior(joint())
    law = follow(Tabulated(change(table)), [uniform_sets(1)] * 3)
    counts = drawn(table, method="random", **options)
    assert p_value(counts, law) > 1e-3
    assert p_value(counts, text_law(joint())) < 1e-6
