"""Features by position, for models that see both sides: those of the neighbours, and only those that are wanted."""

from __future__ import annotations

import torch
from torch import Tensor


def both_neighbours(x: Tensor, attention_mask: Tensor, beyond: Tensor, document_ids: Tensor | None = None) -> Tensor:
    """The features of the previous and of the next position, side by side.

    Args:
        x: (B, L, D).
        attention_mask: (B, L) bool.
        beyond: (2, D), what stands for a previous and for a next neighbour that is padding, or beyond the ends.
        document_ids: (B, L) int64, of packed rows: a neighbour of another document is beyond the ends, too.

    Returns:
        (B, L, 2 D).
    """
    before, after = beyond.to(x.dtype)
    nobody = torch.zeros_like(attention_mask[:, :1], dtype=torch.bool)
    real = attention_mask.to(torch.bool)
    has_before = torch.cat((nobody, real[:, :-1]), dim=1)[..., None]  # (B, L, 1)
    has_after = torch.cat((real[:, 1:], nobody), dim=1)[..., None]
    if document_ids is not None:
        same = (document_ids[:, 1:] == document_ids[:, :-1])[..., None]
        has_before[:, 1:] &= same
        has_after[:, :-1] &= same
    return torch.cat(
        (torch.where(has_before, x.roll(1, dims=1), before), torch.where(has_after, x.roll(-1, dims=1), after)), dim=-1
    )


def keep_positions(h: Tensor, which: int | Tensor) -> Tensor:
    """The features of some positions only.

    Args:
        h: (B, ..., L, D); what lies between is the same for all positions, such as heads. B may be 1 for all rows.
        which: an int keeps the last so many positions, 0 all; a tensor (B, K) int64 keeps these positions of each row.

    Returns:
        (B, ..., K, D), K being L, ``which``, or the tensor's.
    """
    if not isinstance(which, Tensor):
        return h[..., -which:, :]  # -0 is 0: all positions
    between = (1,) * (h.ndim - 3)
    rows = h.expand(len(which), *h.shape[1:])
    return rows.gather(-2, which.view(len(which), *between, -1, 1).expand(*rows.shape[:-2], -1, h.shape[-1]))
