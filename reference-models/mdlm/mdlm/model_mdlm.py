"""The network of MDLM: masked ids to logits, by a bidirectional pre-norm transformer with rotary positions.

    x = E[ids] (+ W_n [E[previous ids]; E[next ids]]);  h = Transformer(x (, σ));  logits = W_o h  (B, L) -> (B, L, V)

An encoder-only transformer with rotary positions (arXiv 2104.09864), which count attended tokens only. The embedding
and the head are not tied, and the head has no bias. Both terms in brackets are optional: a learned projection of both
neighbours' embeddings (``neighbour_shift``), which lets the first layer look pairs up; and the noise level σ, by
adaptive layer norms (``time_conditioning``; adaLN-Zero, arXiv 2212.09748). Without the latter the network does not know
the time, as the paper has it (arXiv 2406.07524): the number of masks tells enough. Departure: its code then keeps
adaptive norms and feeds them σ = 0; here plain layer norms stand in their place. PAD has an embedding like any token,
since the model may have to write it; what is not attended is left out by the attention mask.
"""

import torch
from torch import Tensor, nn
from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import TimestepEmbedder, Transformer, attention_layout, init_weights
from xlm_runtime.nn.features import both_neighbours
from xlm_runtime.options import check_switch


class MdlmModel(nn.Module):
    """logits = W_o Transformer(E[ids] (, σ)): an encoder-only transformer, (B, L) -> (B, L, V).

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
        time_conditioning: tell the network the noise level.

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
        time_conditioning: bool = False,
    ) -> None:
        super().__init__()
        check_switch("model.neighbour_shift", neighbour_shift)
        check_switch("model.time_conditioning", time_conditioning)
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.shift = nn.Linear(2 * d_model, d_model, bias=False) if neighbour_shift else None
        self.beyond = nn.Embedding(2, d_model) if neighbour_shift else None
        self.noise_level = TimestepEmbedder(d_model) if time_conditioning else None
        conditioning_dim = d_model if time_conditioning else None
        self.transformer = Transformer(d_model, num_layers, num_heads, d_ff, dropout, conditioning_dim)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        init_weights(self, std=init_std, embedding_std=embedding_std, residual_std=residual_std)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        sigma: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """Logits of the token that stands at each position.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L) bool, False at padding; None: nothing is padding.
            logits_to_keep: only those of the last so many positions, 0 for all; or of the positions (B, K) int64.
            sigma: (B,) the noise level of each row; ignored without time conditioning.
            document_ids: (B, L) int64, of packed rows: the number of each token's text, 0 at padding.

        Returns:
            (B, L or logits_to_keep or K, V).

        Raises:
            ConfigError: there is time conditioning, and no ``sigma``.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids, dtype=torch.bool)
        x = self.embedding(input_ids)  # (B, L, D)
        if self.shift is not None and self.beyond is not None:
            x = x + self.shift(both_neighbours(x, attention_mask, self.beyond.weight, document_ids))
        conditioning = None
        if self.noise_level is not None:
            if sigma is None:
                raise ConfigError("model.time_conditioning is true, but the network was called without sigma.")
            conditioning = self.noise_level(sigma)  # (B, D)
        positions, mask = attention_layout(attention_mask, document_ids)
        h = self.transformer(x, positions, mask, conditioning=conditioning, keep=logits_to_keep)
        logits: Tensor = self.head(h)
        return logits
