"""The backbone of the reference models: a pre-norm transformer with rotary positions.

Weights start as N(0, 0.02^2), biases at zero; the two projections that write into the residual
stream are scaled by 1 / sqrt(2 num_layers), so that the stream's variance does not grow with depth
(GPT-2). Shallow, narrow models learn sooner from larger ones (``init_weights``). Token embeddings
and the output head are the model's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xlm_runtime.errors import ConfigError
from xlm_runtime.nn.adaptive_norm import AdaptiveGate, AdaptiveLayerNorm
from xlm_runtime.nn.block import TransformerBlock, make_norm, normalise
from xlm_runtime.nn.kv_cache import FixedKVCache, KVCache
from xlm_runtime.nn.rotary import rotary_cos_sin
from xlm_runtime.options import check_number, check_whole_number

INIT_STD = 0.02


class Transformer(nn.Module):
    """Blocks and a final layer norm: embeddings in, features for an output head out.

    Args:
        d_model: the width D.
        num_layers: blocks.
        num_heads: attention heads a block; ``d_model / num_heads`` is even.
        d_ff: the MLP's hidden width.
        dropout: of what each branch adds to the residual stream, in [0, 1).
        conditioning_dim: the width C of a conditioning vector that ``forward`` then wants; None: no
            conditioning.

    Raises:
        ConfigError: sizes that do not fit together.
    """

    def __init__(
        self,
        d_model: int,
        num_layers: int,
        num_heads: int,
        d_ff: int,
        dropout: float = 0.0,
        conditioning_dim: int | None = None,
    ) -> None:
        super().__init__()
        sizes = {"d_model": d_model, "num_layers": num_layers, "num_heads": num_heads, "d_ff": d_ff}
        for name, size in sizes.items():
            check_whole_number(f"model.{name}", size, least=1)
        check_number("model.dropout", dropout, "[0, 1)")
        self.d_model, self.num_heads, self.conditioning_dim = d_model, num_heads, conditioning_dim
        block = (d_model, num_heads, d_ff, dropout, conditioning_dim)
        self.blocks = nn.ModuleList(TransformerBlock(*block) for _ in range(num_layers))
        self.final_norm = make_norm(d_model, conditioning_dim)
        init_weights(self)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        conditioning: Tensor | None = None,
        keep: int | Tensor = 0,
    ) -> Tensor:
        """Run all blocks.

        Args:
            x: (B, L, D) embeddings.
            positions: (B, L) integers.
            mask: bool, broadcastable to (B, 1, L, Lk), True = attend; each query needs one key at
                least. None: all.
            cache: already extended by the L tokens (``KVCache.extend`` returns ``positions`` and
                ``mask``).
            conditioning: (B, C), if and only if the transformer was made with ``conditioning_dim``.
            keep: only the features of the last so many positions, 0 for all; or of the positions
                (B, K) int64. The last block computes no more than these.

        Returns:
            (B, L or keep or K, D), normalised.

        Raises:
            ConfigError: a conditioning vector is missing, or nobody expects it.
        """
        if (conditioning is None) != (self.conditioning_dim is None):
            raise ConfigError(
                f"The transformer was made with conditioning_dim={self.conditioning_dim}, but "
                f"forward() was called {'without' if conditioning is None else 'with'} a "
                "conditioning vector. Change one of the two."
            )
        rotary = rotary_cos_sin(positions, self.d_model // self.num_heads)
        last = len(self.blocks) - 1
        for layer, block in enumerate(self.blocks):
            x = block(x, rotary, mask, cache, layer, conditioning, keep if layer == last else 0)
        return normalise(self.final_norm, x, conditioning)

    def make_cache(
        self,
        batch_size: int,
        max_length: int,
        dtype: torch.dtype | None = None,
        *,
        fixed: bool = False,
    ) -> KVCache:
        """An empty cache on this transformer's device, by default in its weights' dtype.

        ``fixed``: a ``FixedKVCache``, for a compiled step.
        """
        weight = next(self.parameters())
        return (FixedKVCache if fixed else KVCache)(
            len(self.blocks),
            batch_size,
            self.num_heads,
            max_length,
            self.d_model // self.num_heads,
            device=weight.device,
            dtype=dtype or weight.dtype,
        )


@torch.no_grad()
def init_weights(
    module: nn.Module, std: float = INIT_STD, embedding_std: float = INIT_STD, residual_std: float | None = None
) -> None:
    """Draw all weights of ``module`` anew; a model calls it last in its ``__init__``, on itself.

    Linears: N(0, std^2), biases zero. Embeddings: N(0, embedding_std^2), the padding row zero.
    Adaptive norms and gates: zero. Layer norms are left as they are.

    Args:
        module: a model.
        std: of linears.
        embedding_std: of embeddings.
        residual_std: of the projections into a transformer's residual stream;
            None: std / sqrt(2 num_layers).

    Raises:
        ConfigError: a negative one, or ``std`` 0.
    """
    check_number("model.init_std", std, "(0, inf)")
    check_number("model.embedding_std", embedding_std, "[0, inf)")
    check_number("model.residual_std", residual_std, "[0, inf)", or_null=True)
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=embedding_std)
            if part.padding_idx is not None:
                nn.init.zeros_(part.weight[part.padding_idx])
    # Afterwards, for these are made of linears.
    for part in module.modules():
        if isinstance(part, AdaptiveLayerNorm | AdaptiveGate):
            part.reset_parameters()
        elif isinstance(part, Transformer):
            scale = (2 * len(part.blocks)) ** -0.5 if residual_std is None else residual_std / std
            _scale_residual_projections(part.blocks, scale)


def _scale_residual_projections(blocks: nn.ModuleList, scale: float) -> None:
    for block in blocks:
        assert isinstance(block, TransformerBlock)
        block.attention.out.weight.mul_(scale)
        block.mlp_down.weight.mul_(scale)
