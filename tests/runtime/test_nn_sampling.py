"""Each sampler draws from the exact distribution; 20,000 draws, fixed seeds, p > 1e-3."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import (
    SamplingOptions,
    apply_temperature,
    gumbel_max,
    gumbel_noise,
    inverse_cdf,
    row_uniforms,
    sample,
    top_k_filter,
    top_p_filter,
)

DRAWS = 20_000
INF = math.inf
PROBABILITY = torch.tensor([0.05, 0.4, 0.02, 0.25, 0.15, 0.13], dtype=torch.float64)
LOGITS = PROBABILITY.log().float() + 3  # logits are defined up to a constant


def chi_square_p_value(tokens: Tensor, probability: Tensor) -> float:
    """The chance of counts at least as far from those expected; 0 if the impossible was drawn."""
    counts = torch.bincount(tokens, minlength=len(probability)).double()
    possible = probability > 0
    if counts[~possible].any():
        return 0.0
    expected = probability[possible] * counts.sum()
    assert expected.min() >= 5
    statistic = ((counts[possible] - expected) ** 2 / expected).sum()
    freedom = torch.tensor((len(expected) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))


def normalised(weight: list[float] | Tensor) -> Tensor:
    weight = torch.as_tensor(weight, dtype=torch.float64)
    return weight / weight.sum()


CASES = {
    "plain": ({}, PROBABILITY),
    "cold": ({"temperature": 0.5}, normalised(PROBABILITY**2)),
    "hot": ({"temperature": 2.0}, normalised(PROBABILITY**0.5)),
    "top_k": ({"top_k": 3}, normalised([0, 0.4, 0, 0.25, 0.15, 0])),
    "top_k_of_all": ({"top_k": 100}, PROBABILITY),
    # .4 + .25 = .65 < .7: the third token crosses .7, and stays.
    "top_p": ({"top_p": 0.7}, normalised([0, 0.4, 0, 0.25, 0.15, 0])),
    "top_p_in_the_first": ({"top_p": 0.41}, normalised([0, 0.4, 0, 0.25, 0, 0])),
    "top_p_of_all": ({"top_p": 1.0}, PROBABILITY),
    # Squared: .16, .0625, .0225, .0169 of .265: .6 and then .84, so two tokens reach .8.
    "all": (
        {"temperature": 0.5, "top_k": 4, "top_p": 0.8},
        normalised([0, 0.16, 0, 0.0625, 0, 0]),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("source", ["generator", "uniforms"])
def test_draws_follow_the_exact_distribution(name: str, source: str) -> None:
    """Catches a temperature that multiplies, filters in the other order, and a mass that is not made 1 again."""
    options, probability = CASES[name]
    logits = LOGITS.expand(DRAWS, -1)
    if source == "generator":
        tokens = sample(logits, generator=torch.Generator().manual_seed(1), **options)
    else:
        uniforms = row_uniforms(1, torch.arange(DRAWS), 1)[:, 0]
        tokens = sample(logits, uniforms=uniforms, **options)
    assert tokens.shape == (DRAWS,)
    assert tokens.dtype == torch.int64
    assert chi_square_p_value(tokens, probability) > 1e-3


def test_the_test_itself_finds_a_small_bias() -> None:
    tokens = sample(LOGITS.expand(DRAWS, -1), 0.93, generator=torch.Generator().manual_seed(1))
    assert chi_square_p_value(tokens, PROBABILITY) < 1e-3


def test_each_row_has_its_own_distribution() -> None:
    """Catches a filter or a sum over all rows together."""
    logits = torch.stack((LOGITS, LOGITS.flip(0))).expand(DRAWS, 2, -1)
    tokens = sample(logits, generator=torch.Generator().manual_seed(2))
    assert chi_square_p_value(tokens[:, 0], PROBABILITY) > 1e-3
    assert chi_square_p_value(tokens[:, 1], PROBABILITY.flip(0)) > 1e-3


def test_zero_temperature_is_greedy_whatever_the_filters() -> None:
    logits = torch.randn(4, 7, 50, generator=torch.Generator().manual_seed(3))
    for options in ({}, {"top_k": 2}, {"top_p": 0.5}, {"uniforms": torch.rand(4, 7)}):
        assert torch.equal(sample(logits, temperature=0, **options), logits.argmax(-1))
    assert torch.equal(sample(logits, top_k=1), logits.argmax(-1))
    assert torch.equal(sample(logits, top_p=1e-9), logits.argmax(-1))
    assert torch.equal(sample(logits, temperature=1e-6), logits.argmax(-1))


def test_top_k_keeps_exactly_k_also_of_equal_logits() -> None:
    kept = top_k_filter(torch.zeros(3, 10), 4)
    assert kept.isfinite().sum(-1).tolist() == [4, 4, 4]
    logits = torch.tensor([1.0, 5.0, 3.0, 4.0])
    assert top_k_filter(logits, 2).tolist() == [-INF, 5.0, -INF, 4.0]
    assert torch.equal(top_k_filter(logits, 4), logits)


@pytest.mark.parametrize(
    ("p", "kept"),
    [(1e-9, 1), (0.39, 1), (0.41, 2), (0.64, 2), (0.66, 3), (0.97, 5), (0.99, 6)],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(p: float, kept: int) -> None:
    found = top_p_filter(LOGITS, p)
    likeliest = PROBABILITY.argsort(descending=True)[:kept]
    assert set(found.isfinite().nonzero()[:, 0].tolist()) == set(likeliest.tolist())
    assert torch.equal(found[likeliest], LOGITS[likeliest])
    assert PROBABILITY[likeliest].sum() >= p
    assert PROBABILITY[likeliest[:-1]].sum() < p


def test_filters_act_on_logits_of_any_scale_and_leave_their_input_alone() -> None:
    logits, before = LOGITS.repeat(2, 1), LOGITS.repeat(2, 1)
    for shift in (-100.0, 0.0, 100.0):
        found = top_p_filter(logits + shift, 0.7)
        assert found.isfinite().tolist() == top_p_filter(logits, 0.7).isfinite().tolist()
    for function, value in ((top_p_filter, 0.7), (top_k_filter, 2), (apply_temperature, 0.5)):
        function(logits, value)
    sample(logits, 0.5, 3, 0.5)
    assert torch.equal(logits, before)


def test_tokens_of_minus_infinity_are_never_drawn() -> None:
    logits = torch.full((DRAWS, 5), -INF)
    logits[:, [1, 3]] = torch.tensor([0.0, -30.0])
    uniforms = torch.linspace(0, 1 - 2**-53, DRAWS, dtype=torch.float64)
    for tokens in (sample(logits), sample(logits, uniforms=uniforms)):
        assert set(tokens.tolist()) <= {1, 3}
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert inverse_cdf(logits[:2], edges).tolist() == [1, 3]
    for size in range(1, 200):  # the masses do not add up to exactly 1
        assert inverse_cdf(torch.zeros(2, size), edges).tolist() == [0, size - 1]


def test_gumbel_noise_is_float64_and_has_the_far_tail() -> None:
    noise = gumbel_noise(torch.tensor([0.0, 0.5, 1 - 2**-50], dtype=torch.float64))
    assert noise.dtype == torch.float64
    assert noise.isfinite().all()
    assert float(noise[1]) == pytest.approx(-math.log(math.log(2)), abs=1e-12)
    assert float(noise[2]) == pytest.approx(50 * math.log(2), rel=1e-6)  # float32 ends at 16.6


def test_gumbel_max_is_reproducible_and_follows_the_distribution_in_half_precision() -> None:
    logits = LOGITS.bfloat16().expand(DRAWS, -1)
    first, again = (gumbel_max(logits, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert chi_square_p_value(first, LOGITS.bfloat16().double().softmax(-1)) > 1e-3
    generator = torch.Generator().manual_seed(5)
    uniforms = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    assert torch.equal(first, (logits.double() + gumbel_noise(uniforms)).argmax(-1))


def test_a_row_with_its_own_uniforms_does_not_feel_the_others() -> None:
    logits = torch.randn(8, 30, generator=torch.Generator().manual_seed(6))
    rows = torch.tensor([4, 99, 3, 1000, 7, 12, 0, 55])

    def draw(chosen: list[int]) -> list[int]:
        uniforms = row_uniforms(11, rows[chosen], 1, step=2)[:, 0]
        return SamplingOptions(0.9, 20, 0.95).sample(logits[chosen], uniforms=uniforms).tolist()

    together = draw(list(range(8)))
    assert [draw([i])[0] for i in range(8)] == together
    assert draw([5, 2]) == [together[5], together[2]]


def test_nothing_waits_for_the_device() -> None:
    """On the meta device there is nothing to read: a host synchronisation would raise."""
    logits = torch.empty(3, 4, 50, device="meta")
    uniforms = torch.empty(3, 4, device="meta", dtype=torch.float64)
    for options in ({"temperature": 0}, {}, {"temperature": 0.7, "top_k": 5, "top_p": 0.9}):
        assert sample(logits, **options).shape == (3, 4)
        assert sample(logits, uniforms=uniforms, **options).shape == (3, 4)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("temperature", -0.1, r"\[0, inf\)"),
        ("temperature", math.nan, r"\[0, inf\)"),
        ("temperature", INF, r"\[0, inf\)"),
        ("temperature", "hot", r"\[0, inf\)"),
        ("temperature", True, r"\[0, inf\)"),
        ("top_k", 0, "at least 1"),
        ("top_k", -3, "at least 1"),
        ("top_k", 2.5, "at least 1"),
        ("top_p", 0.0, r"\(0, 1\]"),
        ("top_p", 1.1, r"\(0, 1\]"),
        ("top_p", math.nan, r"\(0, 1\]"),
        ("top_p", "0.9", r"\(0, 1\]"),
    ],
)
def test_options_out_of_range(key: str, value: object, allowed: str) -> None:
    message = rf"{key} is {value!r}; expected .*{allowed}"
    with pytest.raises(ConfigError, match=message):
        SamplingOptions(**{key: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        sample(LOGITS, **{key: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"^predictor\.slot_{message}"):
        SamplingOptions(**{key: value}, prefix="predictor.slot_")  # type: ignore[arg-type]


def test_single_functions_refuse_too() -> None:
    for function, value in ((apply_temperature, 0), (top_k_filter, 0), (top_p_filter, 0)):
        with pytest.raises(ConfigError, match=" is 0; expected"):
            function(LOGITS, value)
