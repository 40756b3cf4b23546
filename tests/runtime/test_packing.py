"""Packing: nothing is lost, nothing is too long, and little is empty."""

from __future__ import annotations

import numpy as np
import pytest

from xlm_runtime.datasets import packing
from xlm_runtime.errors import ConfigError


def documents(seed: int, count: int, mean: float) -> tuple[packing.Integers, packing.Integers]:
    lengths = np.random.default_rng(seed).geometric(1 / mean, count)
    return np.cumsum(lengths) - lengths, lengths


def tokens_of(pieces: packing.Pieces) -> np.ndarray:
    return np.concatenate([np.arange(s, s + n) for s, n in zip(pieces.starts, pieces.lengths, strict=True)])


@pytest.mark.parametrize("special", [0, 2])
@pytest.mark.parametrize(("mean", "block"), [(5, 64), (40, 64), (200, 64), (1, 3)])
def test_every_token_is_in_one_block_and_blocks_are_not_too_long(mean: float, block: int, special: int) -> None:
    starts, lengths = documents(0, 2000, mean)
    made = packing.packed(starts, lengths, block, special)
    assert sorted(tokens_of(made)) == list(range(lengths.sum()))
    costs = np.add.reduceat(made.lengths + special, np.concatenate([[0], made.ends[:-1]]))
    assert costs.max() <= block and made.ends[-1] == len(made.starts)
    # Only what is longer than a block is cut, into whole blocks and a rest.
    room = block - special
    assert len(made.starts) == sum(-(-int(n) // room) for n in lengths)


def test_blocks_and_their_pieces_stand_in_the_order_of_the_documents() -> None:
    starts, lengths = documents(1, 500, 20)
    made = packing.packed(starts, lengths, 64, 2)
    blocks = np.split(made.starts, made.ends[:-1])
    assert all((np.diff(block) > 0).all() for block in blocks)
    assert (np.diff([block[0] for block in blocks]) > 0).all()


@pytest.mark.parametrize(("mean", "block", "most"), [(28, 128, 0.005), (180, 512, 0.005), (700, 1024, 0.02)])
def test_little_is_wasted(mean: float, block: int, most: float) -> None:
    starts, lengths = documents(2, 20_000, mean)
    made = packing.packed(starts, lengths, block, 2)
    waste = packing.waste(int(lengths.sum()), len(made.starts), len(made.ends), block, 2)
    assert 0 <= waste < most
    alone = packing.padded(starts, lengths, block - 2)
    assert packing.waste(int(lengths.sum()), len(alone.starts), len(alone.ends), block, 2) > 10 * most


def test_padded_blocks_are_the_pieces_in_their_order() -> None:
    lengths = np.array([3, 8, 4, 1])
    made = packing.padded(np.cumsum(lengths) - lengths, lengths, 4)
    assert made.lengths.tolist() == [3, 4, 4, 4, 1]
    assert tokens_of(made).tolist() == list(range(16))
    assert made.ends.tolist() == [1, 2, 3, 4, 5]


def test_nothing_gives_nothing() -> None:
    nothing = np.zeros(0, np.int64)
    for made in (packing.packed(nothing, nothing, 8, 2), packing.padded(nothing, nothing, 6)):
        assert [len(part) for part in made] == [0, 0, 0]
    assert packing.waste(0, 0, 0, 8, 2) == 0


@pytest.mark.parametrize(("block", "special"), [(2, 2), (1, 2), (8, -1)])
def test_a_block_without_room(block: int, special: int) -> None:
    with pytest.raises(ConfigError, match=rf"block_size is {block} with {special}"):
        packing.check_room(block, special)
