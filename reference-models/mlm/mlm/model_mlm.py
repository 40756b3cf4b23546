"""The network of MLM: ids with blanks to logits, by a bidirectional pre-norm transformer with rotary positions.

    x = E[ids] (+ W_n [E[previous ids]; E[next ids]]);  h = Transformer(x);  logits = W_o h   (B, L) -> (B, L, V)

An encoder-only transformer (BERT, arXiv 1810.04805) with rotary positions (arXiv 2104.09864), which count attended
tokens only. Departures from BERT: layer norms come before each branch, the embedding and the head are not tied, the
head is one linear map without bias, and there are neither segments nor learned positions. The term in brackets is
optional: a learned projection of both neighbours' embeddings (``neighbour_shift``), which lets the first layer look
pairs up. PAD has an embedding like any token, since the model may have to write it; what is not attended is left out by
the attention mask.
"""

import torch
from torch import Tensor, nn
from xlm_runtime.nn import Transformer, attention_layout, init_weights
from xlm_runtime.nn.features import both_neighbours
from xlm_runtime.options import check_switch


class MlmModel(nn.Module):
    """logits = W_o Transformer(E[ids]): an encoder-only transformer, (B, L) -> (B, L, V).

    Args:
        vocab_size: V.
        d_model: the width D.
        num_layers: transformer blocks.
        num_heads: attention heads a block.
        d_ff: the MLP's hidden width.
        dropout: of each branch, in training.
        embedding_std: of the token embeddings at the start.
        init_std: of the linear maps at the start.
        residual_std: of those into the residual stream; None: init_std / sqrt(2 num_layers).
        neighbour_shift: add a projection of both neighbours' embeddings at the input; beyond the ends of a row stand
            learned vectors, by which the network can tell where it begins and ends.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        num_layers: int,
        num_heads: int,
        d_ff: int,
        dropout: float = 0.0,
        embedding_std: float = 0.02,
        init_std: float = 0.02,
        residual_std: float | None = None,
        neighbour_shift: bool = False,
    ) -> None:
        super().__init__()
        check_switch("model.neighbour_shift", neighbour_shift)
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.shift = nn.Linear(2 * d_model, d_model, bias=False) if neighbour_shift else None
        self.beyond = nn.Embedding(2, d_model) if neighbour_shift else None
        self.transformer = Transformer(d_model, num_layers, num_heads, d_ff, dropout)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        init_weights(self, std=init_std, embedding_std=embedding_std, residual_std=residual_std)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """Logits of the token that stands at each position.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L) bool, False at padding; None: nothing is padding.
            logits_to_keep: only those of the last so many positions, 0 for all; or of the positions (B, K) int64.
            document_ids: (B, L) int64, of packed rows: the number of each token's text, 0 at padding.

        Returns:
            (B, L or logits_to_keep or K, V).
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids, dtype=torch.bool)
        x = self.embedding(input_ids)  # (B, L, D)
        if self.shift is not None and self.beyond is not None:
            x = x + self.shift(both_neighbours(x, attention_mask, self.beyond.weight, document_ids))
        positions, mask = attention_layout(attention_mask, document_ids)
        h = self.transformer(x, positions, mask, keep=logits_to_keep)
        logits: Tensor = self.head(h)
        return logits
