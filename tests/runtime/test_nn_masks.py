"""Masks and positions, written out."""

from __future__ import annotations

import torch

from xlm_runtime.nn import bidirectional_mask, causal_mask, positions_from_mask

PADDED = torch.tensor([[False, True, True, False], [False, False, False, False]])


def test_causal_mask() -> None:
    mask = causal_mask(PADDED)
    assert mask.shape == (2, 1, 4, 4)
    assert mask.dtype == torch.bool
    assert mask[0, 0].int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]]
    assert torch.equal(mask[1, 0], torch.eye(4, dtype=torch.bool))


def test_causal_mask_of_the_last_queries_is_the_last_rows() -> None:
    for n in (1, 2, 4):
        assert torch.equal(causal_mask(PADDED, num_queries=n), causal_mask(PADDED)[:, :, -n:])


def test_bidirectional_mask() -> None:
    mask = bidirectional_mask(PADDED)
    assert mask.shape == (2, 1, 4, 4)
    assert mask[0, 0].int().tolist() == [[1, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 1]]
    assert torch.equal(mask[1, 0], torch.eye(4, dtype=torch.bool))


def test_positions_count_real_tokens() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0]])
    expected = [[0, 0, 0, 1, 2], [0, 1, 0, 0, 0], [0, 0, 1, 0, 2], [0, 0, 0, 0, 0]]
    for kind in (mask, mask.bool()):
        assert positions_from_mask(kind).tolist() == expected
        assert positions_from_mask(kind).dtype == torch.int64
    assert torch.equal(causal_mask(mask), causal_mask(mask.bool()))
    assert torch.equal(bidirectional_mask(mask), bidirectional_mask(mask.bool()))
