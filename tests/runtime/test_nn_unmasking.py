"""Commit rules: how many positions are filled, which ones, and that it is never none."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from xlm_runtime.errors import ConfigError
from xlm_runtime.nn.unmasking import (
    MEASURES,
    CommitRule,
    check_blocks,
    commit_below,
    commit_count,
    commit_top,
    current_block,
    pack,
    uncertainty,
)


def bools(*rows: str) -> Tensor:
    return torch.tensor([[c == "1" for c in row] for row in rows])


def test_the_share_of_a_step_is_rounded_up() -> None:
    masked = bools("1111111", "1000000", "1110000")
    assert commit_count(masked, torch.tensor([3, 5, 3])).tolist() == [3, 1, 1]
    for blanks in range(1, 30):
        for steps in range(1, 12):
            left = blanks
            for step in range(steps):
                if left:
                    count = int(commit_count(torch.ones(1, left, dtype=torch.bool), torch.tensor([steps - step])))
                    assert 1 <= count <= left
                    left -= count
            assert left == 0


def test_the_highest_scores_are_taken_among_the_allowed() -> None:
    score = torch.tensor([[9.0, 1.0, 5.0, 3.0], [2.0, 2.0, 2.0, 2.0]])
    allowed = bools("0111", "1101")
    assert torch.equal(commit_top(score, allowed, torch.tensor([2, 2])), bools("0011", "1100"))
    assert torch.equal(commit_top(score, allowed, torch.tensor([9, 0])), bools("0111", "0000"))


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [(0.0, "01000"), (0.05, "01000"), (0.15, "01010"), (0.35, "11010"), (9.0, "11011")],
)
def test_the_threshold_takes_the_longest_prefix(gamma: float, expected: str) -> None:
    """Sorted: .1, .2, .5, .9; sums without the maximum: 0, .1, .3, .8. Catches a sum with the maximum."""
    doubt = torch.tensor([[0.5, 0.1, 0.0, 0.2, 0.9]])
    assert torch.equal(commit_below(doubt, bools("11011"), gamma), bools(expected))


def test_the_threshold_itself_is_too_much() -> None:
    """Sums .25 and .75, exact in binary. Catches <= for <."""
    doubt = torch.tensor([[0.25, 0.5, 1.0]])
    assert torch.equal(commit_below(doubt, bools("111"), 0.75), bools("110"))
    assert torch.equal(commit_below(doubt, bools("111"), 0.25), bools("100"))


def test_a_row_that_is_sure_of_everything_is_filled_at_once() -> None:
    assert torch.equal(commit_below(torch.zeros(1, 4), bools("1110"), 0.1), bools("1110"))


def test_measures_by_hand() -> None:
    """On (1/2, 1/4, 1/4), and 0 for a word that is certain, whatever the logits' offset."""
    logits = torch.tensor([0.5, 0.25, 0.25]).log() + 3
    assert uncertainty(logits, "top_prob").item() == pytest.approx(0.5)
    assert uncertainty(logits, "margin").item() == pytest.approx(0.75)
    assert uncertainty(logits, "entropy").item() == pytest.approx(1.5 * math.log(2))
    certain = torch.tensor([-math.inf, 0.0, -math.inf])
    for measure in MEASURES:
        assert uncertainty(certain, measure).item() == 0
        assert uncertainty(torch.randn(2, 3, 5).bfloat16(), measure).dtype == torch.float32


def choose(rule: CommitRule, logits: Tensor, allowed: Tensor, steps_left: int, seed: int = 0) -> Tensor:
    uniforms = torch.rand(allowed.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    left = torch.full((len(allowed),), steps_left)
    return rule.choose(logits, rule.candidates(allowed, left, uniforms), left, uniforms)


@pytest.mark.parametrize("name", ["random", "confidence", "threshold"])
@pytest.mark.parametrize("steps_left", [1, 2, 5])
def test_every_rule_fills_some_and_the_last_step_all(name: str, steps_left: int) -> None:
    """Catches a rule that fills what is not allowed, fills nothing, or leaves something behind."""
    torch.manual_seed(0)
    allowed = torch.rand(200, 7) < 0.5
    allowed[:, 3] = True
    chosen = choose(CommitRule(name, "entropy", gamma=0.3), torch.randn(200, 7, 5), allowed, steps_left)
    assert not (chosen & ~allowed).any()
    assert chosen.any(1).all()
    if steps_left == 1:
        assert torch.equal(chosen, allowed)
    if name != "threshold":
        assert torch.equal(chosen.sum(1), -(-allowed.sum(1) // steps_left))


def test_random_is_uniform() -> None:
    """Each pair of four positions is as likely. Catches an order that prefers the first positions."""
    allowed = bools("11011").expand(12_000, 5)
    chosen = choose(CommitRule("random"), torch.zeros(12_000, 5, 2), allowed, 2)
    counts = (chosen.int() * torch.tensor([1, 2, 4, 8, 16])).sum(1).bincount(minlength=32)
    assert (counts > 0).sum() == 6
    statistic = ((counts[counts > 0] - 2000.0) ** 2 / 2000).sum()
    assert torch.special.gammaincc(torch.tensor(2.5), statistic / 2) > 1e-3


def test_confidence_takes_the_surest_and_noise_changes_that() -> None:
    logits = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [0.0, 1.0]]]).expand(4000, 3, 2)
    allowed = torch.ones(4000, 3, dtype=torch.bool)
    sure = choose(CommitRule("confidence"), logits, allowed, 3)
    assert torch.equal(sure, bools("010").expand(4000, 3))
    # Gumbel noise of scale 1: the position is drawn from softmax(p_max).
    noisy = choose(CommitRule("confidence", noise=1.0), logits, allowed, 3).double().mean(0)
    law = logits[0].softmax(-1).amax(-1).double().softmax(-1)
    assert torch.allclose(noisy, law, atol=4 * math.sqrt(0.25 / 4000))


@pytest.mark.parametrize(
    "options",
    [{"name": "x"}, {"name": "random", "measure": "x"}, {"name": "random", "noise": -1.0}]
    + [{"name": "random", "gamma": value} for value in (-0.1, math.inf, math.nan)],
)
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CommitRule(**options)


# -- blocks --------------------------------------------------------------------------------------------------


def test_without_blocks_everything_is_allowed() -> None:
    masked = bools("0110", "1111")
    allowed, left, block_steps = current_block(masked, 2, 6, None)
    assert torch.equal(allowed, masked)
    assert left.tolist() == [4, 4] and block_steps.tolist() == [6, 6]


def test_a_row_is_in_its_first_block_with_a_mask() -> None:
    """Blocks of 2 over 5 positions, the last of one; 10 steps: 4, 4 and 2. A row that is early has more of them."""
    masked = bools("01111", "00111", "00001")
    allowed, left, block_steps = current_block(masked, 3, 10, 2)
    assert torch.equal(allowed, bools("01000", "00110", "00001"))
    assert left.tolist() == [1, 5, 7]
    assert block_steps.tolist() == [4, 4, 2]


@pytest.mark.parametrize("length", [1, 4, 13])
@pytest.mark.parametrize("block_size", [1, 2, 4, 5, 13])
def test_the_share_of_every_step_fills_every_block_in_time(length: int, block_size: int) -> None:
    """Whatever the steps: one at least is left, and all are enough. Catches a block without a step."""
    if block_size > length:
        return
    for steps in range(-(-length // block_size), 3 * length):
        masked = torch.ones(1, length, dtype=torch.bool)
        for step in range(steps):
            if not masked.any():
                break
            allowed, left, _ = current_block(masked, step, steps, block_size)
            assert left >= 1
            masked = masked & ~commit_top(torch.zeros(1, length), allowed, commit_count(allowed, left))
        assert not masked.any()


def test_as_many_steps_as_positions_fill_one_each() -> None:
    """Catches steps that are shared out by blocks, where the last one is shorter."""
    masked = torch.ones(1, 13, dtype=torch.bool)
    for step in range(13):
        allowed, left, _ = current_block(masked, step, 13, 4)
        chosen = commit_top(torch.zeros(1, 13), allowed, commit_count(allowed, left))
        assert chosen.sum() == 1
        masked = masked & ~chosen


def test_blocks_that_do_not_fit_are_refused() -> None:
    check_blocks(13, 4, 4)
    check_blocks(13, 1, None)
    with pytest.raises(ConfigError, match="block_size is 14, but there are 13 positions"):
        check_blocks(13, 13, 14)
    with pytest.raises(ConfigError, match=r"are 4 blocks.*Take at least 4 steps"):
        check_blocks(13, 3, 4)


# -- packing -------------------------------------------------------------------------------------------------


def test_pack_moves_the_wanted_to_the_front_in_order() -> None:
    positions, wanted = pack(bools("01011", "10000", "00000"))
    assert positions[0].tolist() == [1, 3, 4] and positions[1, 0] == 0
    assert torch.equal(wanted, bools("111", "100", "000"))
    for row in positions.tolist():
        assert len(set(row)) == 3


def test_pack_of_nothing() -> None:
    positions, wanted = pack(torch.zeros(2, 4, dtype=torch.bool))
    assert positions.shape == wanted.shape == (2, 0)
    assert pack(torch.zeros(0, 4, dtype=torch.bool))[0].shape == (0, 0)
