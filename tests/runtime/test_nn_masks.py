"""Masks and positions, written out."""

from __future__ import annotations

import torch

from xlm_runtime.nn import (
    bidirectional_mask,
    causal_mask,
    document_mask,
    positions_from_mask,
    positions_in_documents,
    prompt_apart_mask,
)
from xlm_runtime.nn.features import both_neighbours

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


def test_prompt_apart_mask() -> None:
    """A prompt of one token and of padding, and text on both sides of it, as that of an insertion model."""
    real = torch.tensor([[True, False, True, True, True, False], [True, False, False, True, True, True]])
    prompt = torch.tensor([False, True, True, False, False, False]).expand(2, -1)
    mask = prompt_apart_mask(real, prompt)
    assert mask.shape == (2, 1, 6, 6)
    text, alone = [1, 0, 1, 1, 1, 0], [0, 0, 1, 0, 0, 0]
    assert mask[0, 0].int().tolist() == [text, [0, 1, 1, 0, 0, 0], alone, text, text, [1, 0, 1, 1, 1, 1]]
    assert mask[1, 0, 1:3].int().tolist() == [[0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]]
    assert torch.equal(prompt_apart_mask(real, torch.zeros_like(real)), bidirectional_mask(real))


def test_positions_count_real_tokens() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0]])
    expected = [[0, 0, 0, 1, 2], [0, 1, 0, 0, 0], [0, 0, 1, 0, 2], [0, 0, 0, 0, 0]]
    for kind in (mask, mask.bool()):
        assert positions_from_mask(kind).tolist() == expected
        assert positions_from_mask(kind).dtype == torch.int64
    assert torch.equal(causal_mask(mask), causal_mask(mask.bool()))
    assert torch.equal(bidirectional_mask(mask), bidirectional_mask(mask.bool()))


DOCUMENTS = torch.tensor([[1, 1, 2, 0], [1, 2, 2, 2], [0, 0, 0, 0]])


def test_documents_do_not_see_one_another() -> None:
    both, causal = document_mask(DOCUMENTS), document_mask(DOCUMENTS, causal=True)
    assert both.shape == causal.shape == (3, 1, 4, 4) and both.dtype == torch.bool
    assert both[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert both[1, 0].int().tolist() == [[1, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]
    assert torch.equal(both[2, 0], torch.eye(4, dtype=torch.bool))
    assert torch.equal(causal, both & torch.ones(4, 4).tril().bool())


def test_a_single_document_is_a_row_as_any() -> None:
    real = torch.tensor([[True, True, True, False]])  # of what padding attends, nothing comes
    assert torch.equal(document_mask(real.long())[..., :3, :], bidirectional_mask(real)[..., :3, :])
    assert torch.equal(document_mask(real.long(), causal=True)[..., :3, :], causal_mask(real)[..., :3, :])
    assert torch.equal(positions_in_documents(real.long()), positions_from_mask(real))


def test_positions_begin_anew_with_each_document() -> None:
    assert positions_in_documents(DOCUMENTS).tolist() == [[0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 0]]


def test_a_neighbour_of_another_document_is_none() -> None:
    x = torch.arange(1.0, 5)[None, :, None]  # (1, 4, 1)
    beyond = torch.tensor([[-1.0], [-2.0]])
    pairs = both_neighbours(x, torch.ones(1, 4, dtype=torch.bool), beyond, torch.tensor([[1, 1, 2, 2]]))
    assert pairs[0].tolist() == [[-1, 2], [1, -2], [-1, 4], [3, -2]]
