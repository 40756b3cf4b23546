"""Neighbours' features, and the choice of positions."""

from __future__ import annotations

import torch

from xlm_runtime.nn.features import both_neighbours, keep_positions

BEYOND = torch.tensor([[-1.0], [-2.0]])


def test_neighbours_stand_side_by_side_and_something_else_beyond_the_ends() -> None:
    x = torch.arange(1.0, 5.0).view(1, 4, 1)
    found = both_neighbours(x, torch.ones(1, 4, dtype=torch.bool), BEYOND)
    assert found[0].tolist() == [[-1, 2], [1, 3], [2, 4], [3, -2]]


def test_padding_is_no_neighbour() -> None:
    """Catches an embedding of PAD that leaks into the first and the last token."""
    x = torch.arange(1.0, 6.0).view(1, 5, 1)
    found = both_neighbours(x, torch.tensor([[False, True, True, True, False]]), BEYOND)
    assert found[0, 1:4].tolist() == [[-1, 3], [2, 4], [3, -2]]


def test_positions_are_kept_from_the_end_or_by_number() -> None:
    h = torch.arange(2.0 * 4 * 3).view(2, 4, 3)
    assert torch.equal(keep_positions(h, 0), h)
    assert torch.equal(keep_positions(h, 3), h[:, 1:])
    found = keep_positions(h, torch.tensor([[3, 0], [1, 1]]))
    assert torch.equal(found, torch.stack([h[0, [3, 0]], h[1, [1, 1]]]))
    assert keep_positions(h, torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0, 3)
    heads = torch.arange(2.0 * 5 * 4 * 3).view(2, 5, 4, 3)
    found = keep_positions(heads, torch.tensor([[3, 0], [1, 1]]))
    assert torch.equal(found, torch.stack([heads[0, :, [3, 0]], heads[1, :, [1, 1]]]))
    one = keep_positions(heads[:1], torch.tensor([[3, 0], [1, 1]]))  # one row for all
    assert torch.equal(one, torch.stack([heads[0, :, [3, 0]], heads[0, :, [1, 1]]]))
