"""One pre-norm layer of the backbone.

    x <- x + Drop(W_o attention(LN x))
    x <- x + Drop(W_2 GELU(W_1 LN x))

With a conditioning vector the norms are adaptive and what a branch adds is gated
(``adaptive_norm``).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from xlm_runtime.nn.adaptive_norm import AdaptiveGate, AdaptiveLayerNorm
from xlm_runtime.nn.attention import SelfAttention
from xlm_runtime.nn.features import keep_positions
from xlm_runtime.nn.kv_cache import KVCache

NORM_EPS = 1e-5


class TransformerBlock(nn.Module):
    """One layer: attention, then an MLP, each on a normalised copy and added to the stream.

    Args:
        d_model: the width D of the residual stream.
        num_heads: attention heads.
        d_ff: the MLP's hidden width.
        dropout: of what each branch adds.
        conditioning_dim: the width C of a conditioning vector; the norms are then adaptive and the
            branches gated.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        dropout: float = 0.0,
        conditioning_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.attention_norm = make_norm(d_model, conditioning_dim)
        self.attention = SelfAttention(d_model, num_heads, dropout)
        self.attention_gate = make_gate(d_model, conditioning_dim)
        self.mlp_norm = make_norm(d_model, conditioning_dim)
        self.mlp_up = nn.Linear(d_model, d_ff)
        self.mlp_down = nn.Linear(d_ff, d_model)
        self.mlp_dropout = nn.Dropout(dropout)
        self.mlp_gate = make_gate(d_model, conditioning_dim)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        conditioning: Tensor | None = None,
        keep: int | Tensor = 0,
    ) -> Tensor:
        """As ``SelfAttention.forward``, with ``conditioning`` (B, C)."""
        y = normalise(self.attention_norm, x, conditioning)
        y = self.attention(y, rotary, mask, cache, layer, keep)
        x = keep_positions(x, keep) + (y if self.attention_gate is None else self.attention_gate(y, conditioning))
        y = normalise(self.mlp_norm, x, conditioning)
        y = self.mlp_dropout(self.mlp_down(F.gelu(self.mlp_up(y))))
        x = x + (y if self.mlp_gate is None else self.mlp_gate(y, conditioning))
        return x


def make_norm(d_model: int, conditioning_dim: int | None) -> nn.LayerNorm | AdaptiveLayerNorm:
    """A layer norm, adaptive if there is a conditioning vector."""
    if conditioning_dim is None:
        return nn.LayerNorm(d_model, eps=NORM_EPS)
    return AdaptiveLayerNorm(d_model, conditioning_dim, eps=NORM_EPS)


def make_gate(d_model: int, conditioning_dim: int | None) -> AdaptiveGate | None:
    """A gate, if there is a conditioning vector."""
    return None if conditioning_dim is None else AdaptiveGate(d_model, conditioning_dim)


def normalise(norm: nn.Module, x: Tensor, conditioning: Tensor | None) -> Tensor:
    """``x`` (B, L, D) through a norm of ``make_norm``; ``conditioning`` is (B, C) or None."""
    y: Tensor = norm(x) if conditioning is None else norm(x, conditioning)
    return y
