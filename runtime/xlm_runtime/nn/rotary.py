"""Rotary position embedding (RoFormer, arXiv 2104.09864).

Feature ``i`` of a head is paired with feature ``i + d/2`` and the pair turned by the angle
``position * base ** (-2 i / d)``. A score between a turned query and a turned key then depends on
the difference of their positions only.

Positions are explicit integers, so that padding on the left, tokens out of order (insertion models)
and cached steps need no special case. The angles are the same for all layers: ``rotary_cos_sin``
runs once a forward pass.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xlm_runtime.errors import ConfigError

ROTARY_BASE = 10_000.0


def rotary_cos_sin(
    positions: Tensor,
    head_dim: int,
    base: float = ROTARY_BASE,
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles, shared by all layers and heads.

    Args:
        positions: (B, L) integers; (1, L) serves every row.
        head_dim: the width d of one head; even.
        base: the longest wavelength is about ``2 pi * base`` positions.

    Returns:
        Two float32 tensors of shape (B, 1, L, head_dim / 2).

    Raises:
        ConfigError: ``head_dim`` is odd.
    """
    if head_dim % 2:
        raise ConfigError(
            f"The width of an attention head is {head_dim}, but rotary embedding needs an even "
            "one. Choose d_model and num_heads such that d_model / num_heads is even."
        )
    # Made here, not kept as a buffer: casting the model to bfloat16 would cast the buffer too.
    feature = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    frequency = base ** (-feature / head_dim)  # (d/2,)
    angle = positions[:, None, :, None].to(torch.float32) * frequency  # (B, 1, L, d/2)
    return angle.cos(), angle.sin()


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each feature pair (i, i + d/2) of ``x`` by its angle.

    Args:
        x: (..., B, H, L, d), queries or keys, any floating dtype.
        cos: (B, 1, L, d/2) float32, of ``rotary_cos_sin``.
        sin: the same.

    Returns:
        The shape and dtype of ``x``; computed in float32 at least.
    """
    first, second = x.chunk(2, dim=-1)  # (..., d/2) each; half precision is promoted below
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
