"""MDLM's samplers draw from the laws that they should: χ² tests of 20,000 draws against exact distributions."""

from __future__ import annotations

from typing import Any

import pytest
from mdlm.predictor_mdlm import MdlmPredictor
from tabulated import (
    TOKENIZER,
    Tabulated,
    blank_batch,
    follow,
    frequencies,
    independent,
    independent_sets,
    joint,
    p_value,
    posterior,
    text_law,
    uniform_sets,
)
from torch import Tensor

from xlm_runtime.noise import LogLinearNoise

DRAWS = 20_000
NOISE = LogLinearNoise()


def drawn(table: Tensor, **options: Any) -> Tensor:
    """How often each text was drawn."""
    predictor = MdlmPredictor(Tabulated(table), TOKENIZER, NOISE, **{"seed": 7, **options})
    return frequencies(predictor.predict(blank_batch(DRAWS))["ids"])


@pytest.mark.parametrize(
    "options",
    [
        {"method": "first_hitting"},
        {"method": "first_hitting", "block_size": 2},
        {"method": "random"},
        {"method": "confidence"},
        {"method": "threshold", "gamma": 0.0},
        {"method": "ddpm", "block_size": 1},
    ],
    ids=str,
)
def test_one_reveal_at_a_time_draws_from_the_joint_law(options: dict[str, Any]) -> None:
    """ddpm has one at a time in blocks of one. Catches words that are drawn from stale logits, noise that is shared,
    and an order of reveals that depends on the words.
    """
    p = joint()
    assert p_value(drawn(posterior(p), **options), text_law(p)) > 1e-3


@pytest.mark.parametrize("method", ["ddpm", "ddpm_cache"])
@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_ddpm_draws_from_the_law_of_its_chain(method: str, steps: int) -> None:
    """With few steps this is not the joint law, and the test sees the difference. Catches a probability other than
    (m_t − m_s) / m_t = 1 / (steps left), and a last step that leaves something for one more.
    """
    p = joint()
    table = posterior(p)
    law = follow(Tabulated(table), [independent_sets(1 / (steps - step)) for step in range(steps)])
    counts = drawn(table, method=method, steps=steps)
    assert p_value(counts, law) > 1e-3
    assert p_value(counts, text_law(p)) < 1e-6


@pytest.mark.parametrize("method", ["ddpm", "ddpm_cache"])
def test_ddpm_is_exact_for_independent_words(method: str) -> None:
    """Catches blanks of one step that share a draw, and steps that leave blanks behind."""
    p = independent()
    assert p_value(drawn(posterior(p), method=method, steps=3), text_law(p)) > 1e-3


def test_a_rule_may_fill_several_at_once() -> None:
    """Catches draws from the joint law, or in another order than the rule's."""
    table = posterior(joint())
    counts = drawn(table, method="random", steps=2)
    assert p_value(counts, follow(Tabulated(table), [uniform_sets(2), uniform_sets(1)])) > 1e-3


def test_temperature_changes_the_conditionals() -> None:
    """Catches a temperature that multiplies, or is left out."""
    table = posterior(joint())
    law = follow(Tabulated((2 * table).log_softmax(-1)), [uniform_sets(1)] * 3)
    assert p_value(drawn(table, temperature=0.5), law) > 1e-3
