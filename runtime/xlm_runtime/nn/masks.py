"""Attention masks and positions, from the mask of real tokens.

A mask is boolean and True means "attend". Every query may attend itself, also where it is padding:
a row without a single key would turn its softmax into NaN, and a loss that multiplies by zero does
not remove a NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor


def causal_mask(attention_mask: Tensor, num_queries: int | None = None) -> Tensor:
    """Each query attends the real tokens before it, and itself.

    Args:
        attention_mask: (B, Lk), True (or 1) at real tokens.
        num_queries: how many of the last positions are queries (Lq); all by default. With a cache,
            the new ones.

    Returns:
        (B, 1, Lq, Lk) bool.
    """
    length = attention_mask.shape[-1]
    first = 0 if num_queries is None else length - num_queries
    key = torch.arange(length, device=attention_mask.device)
    query = key[first:, None]  # (Lq, 1)
    real = attention_mask[:, None, None, :].to(torch.bool)  # (B, 1, 1, Lk)
    return (real & (key < query)) | (key == query)


def bidirectional_mask(attention_mask: Tensor) -> Tensor:
    """Each query attends all real tokens, and itself.

    Args:
        attention_mask: (B, L), True (or 1) at real tokens.

    Returns:
        (B, 1, L, L) bool.
    """
    own = torch.eye(attention_mask.shape[-1], dtype=torch.bool, device=attention_mask.device)
    return attention_mask[:, None, None, :].to(torch.bool) | own


def positions_from_mask(attention_mask: Tensor) -> Tensor:
    """Positions that count real tokens only: ``cumsum(attention_mask) - 1``, zero at padding.

    Args:
        attention_mask: (B, L), True (or 1) at real tokens.

    Returns:
        (B, L) int64.
    """
    real = attention_mask.to(torch.int64)
    return (real.cumsum(-1) - 1) * real
