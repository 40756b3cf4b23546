"""The network of SKELETON: an ``nn.Module`` from ids to logits. It knows no loss.

Here: token embeddings, a causal transformer with rotary positions, an output head that is not tied to the embeddings.
"""

import torch
from torch import Tensor, nn
from xlm_runtime.nn import Transformer, causal_mask, init_weights, positions_from_mask


class SkeletonModel(nn.Module):
    """A decoder-only transformer.

    Args:
        vocab_size: V.
        pad_id: the padding token, whose embedding is zero and stays so.
        d_model: the width D.
        num_layers: transformer blocks.
        num_heads: attention heads a block.
        d_ff: the MLP's hidden width.
        dropout: of each branch, in training.
        embedding_std: of the token embeddings at the start.
        init_std: of the linear maps at the start.
        residual_std: of those into the residual stream; None: init_std / sqrt(2 num_layers).
    """

    # TODO: the arguments here are the keys of configs/model/skeleton.yaml; add yours in both places.
    def __init__(
        self,
        vocab_size: int,
        pad_id: int,
        d_model: int,
        num_layers: int,
        num_heads: int,
        d_ff: int,
        dropout: float = 0.0,
        embedding_std: float = 0.02,
        init_std: float = 0.02,
        residual_std: float | None = None,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model, padding_idx=pad_id)
        self.transformer = Transformer(d_model, num_layers, num_heads, d_ff, dropout)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        init_weights(self, std=init_std, embedding_std=embedding_std, residual_std=residual_std)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits (B, L, V) of the token after each position.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L) bool, False at padding; None: nothing is padding.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids, dtype=torch.bool)
        # TODO: your architecture. `bidirectional_mask` lets every position see all others.
        x = self.embedding(input_ids)  # (B, L, D)
        h = self.transformer(x, positions_from_mask(attention_mask), causal_mask(attention_mask))
        logits: Tensor = self.head(h)
        return logits
