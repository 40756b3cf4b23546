"""The network of ARLM: ids to next-token logits, by a causal pre-norm transformer with rotary positions.

    x = E[ids] (+ W_s E[previous ids]);  h = Transformer(x, causal);  logits = W_o h

The embedding and the head are not tied, and the head has no bias. The term in brackets is optional: a learned
projection of the previous token's embedding (``neighbour_shift``), which lets the first layer look pairs up.
"""

import torch
from torch import Tensor, nn
from xlm_runtime.nn import KVCache, Transformer, causal_mask, init_weights, positions_from_mask


class ArlmModel(nn.Module):
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
        neighbour_shift: add a projection of the previous token's embedding at the input.
    """

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
        neighbour_shift: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model, padding_idx=pad_id)
        self.shift = nn.Linear(d_model, d_model, bias=False) if neighbour_shift else None
        self.transformer = Transformer(d_model, num_layers, num_heads, d_ff, dropout)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        init_weights(self, embedding_std=embedding_std)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        logits_to_keep: int = 0,
        cache: KVCache | None = None,
        previous_ids: Tensor | None = None,
    ) -> Tensor:
        """Logits of the token after each position.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L) bool, False at padding; None: nothing is padding.
            logits_to_keep: only those of the last so many positions; 0 for all.
            cache: holds the tokens before ``input_ids``, and takes these in.
            previous_ids: (B,) int64, the token before each row's first one; None: there is none.

        Returns:
            (B, L or logits_to_keep, V).
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids, dtype=torch.bool)
        if cache is None:
            positions, mask = positions_from_mask(attention_mask), causal_mask(attention_mask)
        else:
            positions, mask = cache.extend(attention_mask)
        x = self.embedding(input_ids)  # (B, L, D)
        if self.shift is not None:
            first = torch.zeros_like(x[:, :1]) if previous_ids is None else self.embedding(previous_ids)[:, None]
            x = x + self.shift(torch.cat([first, x[:, :-1]], dim=1))
        h = self.transformer(x, positions, mask, cache=cache, keep=logits_to_keep)
        logits: Tensor = self.head(h)
        return logits
