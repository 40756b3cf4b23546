"""Multi-head self-attention with rotary positions.

Departures from the common block: no bias on any projection, one fused projection for q, k and v,
and no dropout of attention probabilities (only of the output, before it joins the residual stream).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlm_runtime.errors import ConfigError
from xlm_runtime.nn.features import keep_positions
from xlm_runtime.nn.kv_cache import KVCache
from xlm_runtime.nn.rotary import apply_rotary

# Up to these sizes (queries x keys) two matrix products and a softmax beat the fused kernel on a CPU.
# Forward and backward on two threads, 4 heads of 32, in milliseconds, fused / plain:
#
#   batch x length   64 x 42      8 x 42       16 x 128   8 x 256
#   float32          9.1 / 4.6    1.1 / 0.7    8 / 8      9 / 11
#   bfloat16         19 / 2.0     2.5 / 0.5    13 / 3     15 / 8
#
# A single query in float32 is the exception: the fused kernel saves it two passes.
PLAIN_LIMIT = 128 * 128
PLAIN_LIMIT_HALF = 256 * 256


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """``softmax(q k^T / sqrt(d)) v`` over the attended keys.

    The way of computing it is chosen from device, dtype and shape alone (``PLAIN_LIMIT``); both
    agree to 1e-5 in float32. The plain one takes its softmax in float32, as the fused kernels do.

    Args:
        q: (B, H, Lq, d).
        k: (B, H, Lk, d).
        v: (B, H, Lk, d).
        mask: bool, broadcastable to (B, 1, Lq, Lk), True = attend; each query needs one key at
            least. None: all.

    Returns:
        (B, H, Lq, d).
    """
    if not _plain_is_faster(q, k):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (B, H, Lq, Lk)
    if mask is not None:
        # Adding is cheaper than filling: its backward pass is the identity.
        scores = scores + torch.where(mask, 0.0, float("-inf"))  # float32, and so is the sum
    wide = torch.promote_types(scores.dtype, torch.float32)
    return torch.matmul(scores.softmax(-1, dtype=wide).to(v.dtype), v)


def _plain_is_faster(q: Tensor, k: Tensor) -> bool:
    if q.device.type != "cpu":
        return False
    queries, keys = q.shape[-2], k.shape[-2]
    if q.dtype in (torch.bfloat16, torch.float16):
        return queries * keys <= PLAIN_LIMIT_HALF
    return queries > 1 and queries * keys <= PLAIN_LIMIT


class SelfAttention(nn.Module):
    """``Drop(W_o attend(RoPE q, RoPE k, v))``, without the residual sum.

    Args:
        d_model: the width of the residual stream.
        num_heads: divides ``d_model`` into heads of an even width.
        dropout: of the output.

    Raises:
        ConfigError: ``d_model`` cannot be divided so.
    """

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if num_heads < 1 or d_model % (2 * num_heads):
            raise ConfigError(
                f"d_model={d_model} cannot be divided among num_heads={num_heads}: each head needs "
                "the same even width. Make d_model a multiple of 2 * num_heads."
            )
        self.num_heads = num_heads
        self.head_dim = d_model // num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        keep: int | Tensor = 0,
    ) -> Tensor:
        """Attend.

        Args:
            x: (B, L, D), normalised.
            rotary: cosines and sines of the positions of ``x``, of ``rotary_cos_sin``.
            mask: bool, broadcastable to (B, 1, L, Lk), True = attend; Lk is L, or the cache's
                length.
            cache: where the keys and values of ``x`` are appended to, and those attended over come
                from.
            layer: this layer's index in the cache.
            keep: which positions are queries, as in ``keep_positions``; all are keys.

        Returns:
            (B, L or keep or K, D).
        """
        if isinstance(keep, Tensor) or 0 < keep < x.shape[1]:
            q, k, v = self._of_some_queries(x, rotary, keep)
            mask = None if mask is None else keep_positions(mask, keep)
        else:
            qkv = self._heads(self.qkv(x), 3)  # (3, B, H, L, d)
            q, k = apply_rotary(qkv[:2], *rotary).unbind(0)  # (B, H, L, d) each
            v = qkv[2]
        if cache is not None:
            k, v = cache.append(layer, k, v)
        y = attend(q, k, v, mask).transpose(1, 2).flatten(2)
        branch: Tensor = self.dropout(self.out(y))
        return branch

    def _of_some_queries(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], keep: int | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        width = x.shape[-1]
        q = self._heads(F.linear(keep_positions(x, keep), self.qkv.weight[:width]), 1)[0]
        k, v = self._heads(F.linear(x, self.qkv.weight[width:]), 2)
        cos, sin = rotary
        q = apply_rotary(q, keep_positions(cos, keep), keep_positions(sin, keep))
        return q, apply_rotary(k, cos, sin), v

    def _heads(self, y: Tensor, count: int) -> Tensor:
        """(B, L, count D) -> (count, B, H, L, d)."""
        return y.view(*y.shape[:2], count, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
