"""Features by position, for models that see both sides: those of the neighbours, and only those that are wanted."""

from __future__ import annotations

import torch
from torch import Tensor


def both_neighbours(x: Tensor, attention_mask: Tensor) -> Tensor:
    """The features of the previous and of the next position, side by side.

    Args:
        x: (B, L, D).
        attention_mask: (B, L) bool; a neighbour that is padding, or beyond the ends, is zero.

    Returns:
        (B, L, 2 D).
    """
    x = x * attention_mask[..., None].to(x.dtype)
    beyond = torch.zeros_like(x[:, :1])
    return torch.cat((torch.cat((beyond, x[:, :-1]), dim=1), torch.cat((x[:, 1:], beyond), dim=1)), dim=-1)


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
