"""The network of ARLM: ids to next-token logits, by a causal pre-norm transformer with rotary positions.

    x = E[ids] (+ W_s E[previous ids]);  h = Transformer(x, causal);  logits = W_o h          (B, L) -> (B, L, V)

A decoder-only transformer (arXiv 1706.03762) with its layer norms before each branch (GPT-2) and rotary positions
(arXiv 2104.09864), which count attended tokens only. Departures from GPT-2: the embedding and the head are not tied,
the head and the attention's projections have no bias, and no position is learned. The term in brackets is optional: a
learned projection of the previous token's embedding (``neighbour_shift``), which lets the first layer look pairs up.
"""

from typing import Any

import torch
from torch import Tensor, nn
from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import KVCache, Transformer, attention_layout, init_weights
from xlm_runtime.nn.gpt_neox import to_gpt_neox
from xlm_runtime.options import check_switch


class ArlmModel(nn.Module):
    """logits = W_o Transformer(E[ids], causal): a decoder-only transformer, (B, L) -> (B, L, V).

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
        neighbour_shift: add a projection of the previous token's embedding at the input; a text's first token has a
            learned vector in its place, by which the network can tell where the text begins.

    Raises:
        ConfigError: an option out of its range.
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
        init_std: float = 0.02,
        residual_std: float | None = None,
        neighbour_shift: bool = False,
    ) -> None:
        super().__init__()
        check_switch("model.neighbour_shift", neighbour_shift)
        self.pad_id = pad_id
        self.embedding = nn.Embedding(vocab_size, d_model, padding_idx=pad_id)
        self.shift = nn.Linear(d_model, d_model, bias=False) if neighbour_shift else None
        self.nothing_before = nn.Embedding(1, d_model) if neighbour_shift else None
        self.transformer = Transformer(d_model, num_layers, num_heads, d_ff, dropout)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        init_weights(self, std=init_std, embedding_std=embedding_std, residual_std=residual_std)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        logits_to_keep: int = 0,
        cache: KVCache | None = None,
        previous_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """Logits of the token after each position.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L) bool, False at padding; None: nothing is padding.
            logits_to_keep: only those of the last so many positions; 0 for all.
            cache: holds the tokens before ``input_ids``, and takes these in.
            previous_ids: (B,) int64, the token before each row's first one; None: there is none.
            document_ids: (B, L) int64, of packed rows: the number of each token's text, 0 at padding; not with a cache.

        Returns:
            (B, L or logits_to_keep, V).
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids, dtype=torch.bool)
        if cache is None:
            positions, mask = attention_layout(attention_mask, document_ids, causal=True)
        else:
            positions, mask = cache.extend(attention_mask)
        x = self.embedding(input_ids)  # (B, L, D)
        if self.shift is not None and self.nothing_before is not None:
            if previous_ids is None:
                before, known = torch.zeros_like(x[:, :1]), torch.zeros_like(attention_mask[:, :1])
            else:
                before = self.embedding(previous_ids)[:, None]
                known = previous_ids.ne(self.pad_id)[:, None]
            before = torch.cat([before, x[:, :-1]], dim=1)
            known = torch.cat([known, attention_mask[:, :-1]], dim=1)  # (B, L)
            if document_ids is not None:
                known[:, 1:] &= document_ids[:, 1:] == document_ids[:, :-1]
            x = x + self.shift(torch.where(known[..., None], before, self.nothing_before.weight))
        h = self.transformer(x, positions, mask, cache=cache, keep=logits_to_keep)
        logits: Tensor = self.head(h)
        return logits

    def to_transformers(self, special_ids: dict[str, int], max_length: int) -> Any:
        """A ``GPTNeoXForCausalLM`` with the same logits: its layer norms and its MLP are ours, Llama's are not.

        Raises:
            ConfigError: with ``neighbour_shift``, which no class of transformers has.
        """
        if self.shift is not None:
            raise ConfigError(
                "format is transformers, but model.neighbour_shift is true, and no class of transformers adds the token "
                "before. Export with format=xlm, or train with model.neighbour_shift=false."
            )
        return to_gpt_neox(self.embedding, self.transformer, self.head, special_ids, max_length)
