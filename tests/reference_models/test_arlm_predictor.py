"""ARLM: what its predictions may and may not depend on, and what they are drawn from."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from arlm.predictor_arlm import ArlmPredictor
from arlm_untrained import (
    BOS,
    ENDING,
    EOS,
    EXAMPLES,
    NEW,
    PAD,
    PROMPT,
    SAMPLED,
    SPECIAL,
    TOKENIZER,
    WORDS,
    V,
    Watched,
    generate,
    lengths,
    prompts,
    watched,
)
from torch import Tensor, nn

from xlm_runtime.errors import ConfigError


@pytest.fixture(params=[False, True], ids=["plain", "neighbour_shift"])
def model(request: pytest.FixtureRequest) -> Watched:
    return watched(neighbour_shift=request.param)


# -- generation: the cache ---------------------------------------------------------------------------------


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "full"])
@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_with_a_cache_the_tokens_are_those_without(model: Watched, sampling: dict[str, Any], padded: bool) -> None:
    model.bias[EOS] = ENDING
    full = [{**example, "prompt_ids": (example["prompt_ids"] * PROMPT)[:PROMPT]} for example in EXAMPLES]
    rows = EXAMPLES if padded else full
    cached = generate(model, rows, **sampling)
    assert len(set(lengths(cached))) >= 4  # rows end at different steps
    assert torch.equal(cached, generate(model, rows, use_cache=False, **sampling))


def test_greedy_tokens_are_the_likeliest_of_each_step() -> None:
    net = watched(eos=ENDING)
    net.bias[SPECIAL] = -torch.inf
    for example, ids in zip(EXAMPLES, generate(net).tolist(), strict=True):
        row = [*example["prompt_ids"], BOS]
        for token in ids[: ids.index(EOS) + 1 if EOS in ids else NEW]:
            assert token == net(torch.tensor([row]))[0, -1].argmax().item()
            row.append(token)


@pytest.mark.parametrize("use_cache", [True, False])
def test_rows_that_have_ended_leave_the_batch_and_the_last_one_ends_the_loop(use_cache: bool) -> None:
    net = watched(eos=ENDING)
    steps = lengths(generate(net, use_cache=use_cache))
    going = [sum(length > step for length in steps) for step in range(max(steps))]
    assert len(set(going)) >= 4
    assert [rows for rows, _ in net.calls] == going
    columns = [PROMPT + 1, *([1] * (max(steps) - 1) if use_cache else range(PROMPT + 2, PROMPT + 1 + max(steps)))]
    assert [count for _, count in net.calls] == columns


def test_if_every_row_ends_at_once_the_network_runs_once() -> None:
    net = watched(eos=1e6)
    ids = generate(net)
    assert ids.tolist() == [[EOS] + [PAD] * (NEW - 1)] * len(EXAMPLES)
    assert len(net.calls) == 1


def test_if_no_row_ends_the_network_runs_as_often_as_there_are_tokens() -> None:
    net = watched(eos=-1e6)
    ids = generate(net, max_new_tokens=5)
    assert ids.shape == (len(EXAMPLES), 5)
    assert PAD not in ids and EOS not in ids
    assert len(net.calls) == 5


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_after_eos_there_is_padding_and_before_it_no_special_token(sampling: dict[str, Any]) -> None:
    ids = generate(watched(eos=ENDING, special=20.0), **sampling)  # they would be by far the likeliest
    for row in ids.tolist():
        end = row.index(EOS) + 1 if EOS in row else NEW
        assert set(row[: end - 1]) <= set(WORDS)
        assert set(row[end:]) <= {PAD}


# -- generation: the draws ---------------------------------------------------------------------------------


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_rows_tokens_do_not_depend_on_its_batch(use_cache: bool) -> None:
    net = watched(eos=ENDING)
    together = generate(net, use_cache=use_cache, **SAMPLED)
    assert len({tuple(row) for row in together.tolist()}) >= 10
    order = torch.randperm(len(EXAMPLES), generator=torch.Generator().manual_seed(0)).tolist()
    permuted = generate(net, [EXAMPLES[i] for i in order], use_cache=use_cache, **SAMPLED)
    assert torch.equal(permuted, together[order])
    for chosen in ([3], [0, 7, 11]):
        some = generate(net, [EXAMPLES[i] for i in chosen], use_cache=use_cache, **SAMPLED)
        assert torch.equal(some, together[chosen])


def test_the_seed_and_the_index_choose_the_draws() -> None:
    net = watched()
    same = [{**EXAMPLES[0], "index": index} for index in (0, 1, 2, 0)]
    ids = generate(net, same, **SAMPLED).tolist()
    assert ids[0] == ids[3]
    assert len({tuple(row) for row in ids}) == 3
    assert generate(net, same, **{**SAMPLED, "seed": 4}).tolist() != ids


def test_drawing_leaves_the_global_generator_alone() -> None:
    net = watched()
    before = torch.get_rng_state()
    generate(net, **SAMPLED)
    assert torch.equal(torch.get_rng_state(), before)


def chi_square(counts: Tensor, probabilities: Tensor) -> float:
    """(X^2 - df) / sqrt(2 df): about standard normal if the counts are those of the probabilities."""
    expected = probabilities * counts.sum()
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    assert expected[possible].min() > 5  # else the approximation is none
    degrees = int(possible.sum()) - 1
    return float((((counts - expected) ** 2)[possible] / expected[possible]).sum() - degrees) / (2 * degrees) ** 0.5


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [{"temperature": 1.0}, {"temperature": 0.5}, {"temperature": 1.5, "top_k": 4}, {"temperature": 1.0, "top_p": 0.8}],
    ids=["plain", "cooler", "top_k", "top_p"],
)
def test_first_tokens_are_drawn_from_the_models_distribution(options: dict[str, Any]) -> None:
    """Catches a temperature that multiplies, special tokens that are drawn, top-p without the token that crosses p."""
    net = watched(eos=2.0, special=5.0)
    net.head.weight /= 3  # nearer to uniform, so that no token is too rare to be counted
    row = {"prompt_ids": WORDS[3:5]}
    logits = net(torch.tensor([[*row["prompt_ids"], BOS]]))[0, -1].double()
    logits[SPECIAL] = -torch.inf
    p = (logits / options["temperature"]).softmax(-1)
    if k := options.get("top_k"):
        p[p < p.sort().values[-k]] = 0
    if (mass := options.get("top_p")) is not None:
        ordered, tokens = p.sort(descending=True)
        p[tokens[ordered.cumsum(0) - ordered >= mass]] = 0
    p /= p.sum()
    batch = prompts([{**row, "index": i} for i in range(20_000)], length=2)
    predictor = ArlmPredictor(net, TOKENIZER, max_new_tokens=1, use_cache=False, seed=11, **options)
    drawn = predictor.predict(batch)["ids"][:, 0]
    assert abs(chi_square(torch.bincount(drawn, minlength=V).double(), p)) < 4


class Fair(nn.Module):
    """Two words, equally likely, whatever came before."""

    def forward(self, input_ids: Tensor, *args: Any, **options: Any) -> Tensor:
        logits = torch.full((len(input_ids), 1, V), -torch.inf)
        logits[..., WORDS[:2]] = 0.0
        return logits


def test_the_draws_of_different_steps_and_rows_are_independent() -> None:
    """Catches uniforms that do not depend on the step, or not on the row."""
    rows = [{**EXAMPLES[0], "index": i} for i in range(20_000)]
    ids = generate(Fair(), rows, max_new_tokens=3, use_cache=False, temperature=1.0, seed=5) - WORDS[0]
    quarter = torch.full((4,), 0.25, dtype=torch.float64)
    for first, second in itertools.combinations((ids[:, 0], ids[:, 1], ids[:, 2], ids[:, 0].roll(1)), 2):
        assert abs(chi_square(torch.bincount(2 * first + second, minlength=4).double(), quarter)) < 4


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_k": 2.5},
        {"top_p": 0.0},
        {"top_p": 1.5},
    ],
    ids=str,
)
def test_an_option_out_of_its_range_is_an_error_that_names_it(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        ArlmPredictor(watched(), TOKENIZER, **options)


def test_predicting_leaves_its_batch_alone_and_makes_no_gradient() -> None:
    batch = prompts(EXAMPLES)
    before = copy.deepcopy(batch)
    ids = ArlmPredictor(watched(eos=ENDING), TOKENIZER, max_new_tokens=NEW).predict(batch)["ids"]
    assert not ids.requires_grad and ids.dtype == torch.int64
    assert batch.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in batch.items())
