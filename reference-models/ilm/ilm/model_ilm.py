"""The network of ILM: ids to insertion logits and stop logits, by a bidirectional transformer.

    x = E[ids] + E_type[types] (+ E_pos[positions]) (+ W_s [E[left neighbour]; E[right neighbour]])
    h = Transformer(x, rotary positions);  logits = W_o h;  stop = W_2 GELU(W_1 h_CLS)   (B, L) -> (B, L, V), (B, 2)

Transformer and rotary positions (arXiv 2104.09864) as in Insertion Language Models (arXiv 2505.05755), and their two
heads. Column i's logits are about inserting right after its token. Positions are explicit, so that the columns may
stand in any order: the predictor keeps them in the order of insertion.

Departures, both optional, are the terms in brackets: learned absolute positions (``max_positions``) besides the rotary
ones, and a learned projection of the embeddings of both neighbours in the sequence (``neighbour_shift``), zero beyond
its ends, which lets the first layer look pairs up.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import Transformer, bidirectional_mask, init_weights, positions_from_mask
from xlm_runtime.options import check_switch, check_whole_number

from .types_ilm import CLS_TYPE, TEXT_TYPE, TYPES, ModelOutput


class IlmModel(nn.Module):
    """logits = W_o h, stop = W_2 GELU(W_1 h_CLS), h = Transformer(E[ids] + E_type[types]): (B, L) -> (B, L, V), (B, 2).

    Args:
        vocab_size: V.
        pad_id: the padding token, whose embedding is zero and stays so.
        d_model: the width D.
        num_layers: transformer blocks.
        num_heads: attention heads a block.
        d_ff: the MLP's hidden width.
        dropout: of each branch, in training.
        embedding_std: of the embeddings at the start.
        init_std: of the linear maps at the start.
        residual_std: of those into the residual stream; None: init_std / sqrt(2 num_layers).
        neighbour_shift: add a projection of both neighbours' embeddings at the input; beyond the ends of a row stand
            learned vectors, by which the network can tell where it begins and ends.
        max_positions: learned absolute positions, for at most so many columns; None for none.

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
        max_positions: int | None = None,
    ) -> None:
        super().__init__()
        check_switch("model.neighbour_shift", neighbour_shift)
        check_whole_number("model.max_positions", max_positions, least=1, or_null=True)
        self.embedding = nn.Embedding(vocab_size, d_model, padding_idx=pad_id)
        self.type_embedding = nn.Embedding(len(TYPES), d_model)
        self.position_embedding = None if max_positions is None else nn.Embedding(max_positions, d_model)
        self.shift = nn.Linear(2 * d_model, d_model, bias=False) if neighbour_shift else None
        self.beyond = nn.Embedding(2, d_model) if neighbour_shift else None
        self.transformer = Transformer(d_model, num_layers, num_heads, d_ff, dropout)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        self.stop_head = nn.Sequential(nn.Linear(d_model, d_model), nn.GELU(), nn.Linear(d_model, 2))
        init_weights(self, std=init_std, embedding_std=embedding_std, residual_std=residual_std)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        type_ids: Tensor | None = None,
        positions: Tensor | None = None,
        logits_to_keep: int = 0,
    ) -> ModelOutput:
        """Insertion logits and stop logits.

        Args:
            input_ids: (B, L) int64; column 0 holds CLS.
            attention_mask: (B, L) bool, False at padding and at what is deleted; None: nothing is.
            type_ids: (B, L) int64 of 0, 1, 2; None: CLS, then text.
            positions: (B, L) int64, 0 ... of each row's real tokens, zero at the others; None: as they stand.
            logits_to_keep: only those of the last so many columns; 0 for all.

        Returns:
            Logits (B, L or logits_to_keep, V) and (B, 2).

        Raises:
            ConfigError: more columns than there are learned positions.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids, dtype=torch.bool)
        if type_ids is None:
            type_ids = torch.full_like(input_ids, TEXT_TYPE)
            type_ids[:, 0] = CLS_TYPE
        if positions is None:
            positions = positions_from_mask(attention_mask)
        tokens = self.embedding(input_ids)  # (B, L, D)
        x = tokens + self.type_embedding(type_ids)
        if self.position_embedding is not None:
            self._check_length(input_ids.shape[1], self.position_embedding.num_embeddings)
            x = x + self.position_embedding(positions)
        if self.shift is not None and self.beyond is not None:
            x = x + self.shift(neighbours(tokens, positions, attention_mask, self.beyond.weight))
        batch, length = input_ids.shape
        first = max(length - logits_to_keep, 0) if logits_to_keep else 0
        kept = torch.arange(first, length, device=input_ids.device)
        # CLS, whose state says whether to stop, comes first; then the columns whose logits are wanted.
        keep = F.pad(kept, (1, 0)).expand(batch, -1)
        h = self.transformer(x, positions, bidirectional_mask(attention_mask), keep=keep)
        return ModelOutput(self.head(h[:, 1:]), self.stop_head(h[:, 0]))

    @staticmethod
    def _check_length(length: int, most: int) -> None:
        if length > most:
            raise ConfigError(
                f"A row has {length} columns, but model.max_positions is {most}. Raise it to the longest row that "
                "training and generation can meet (prompt, BOS, text and what may be inserted), or set it to null."
            )


def neighbours(tokens: Tensor, positions: Tensor, attention_mask: Tensor, beyond: Tensor) -> Tensor:
    """The embeddings of the tokens one position to the left and to the right.

    Args:
        tokens: (B, L, D).
        positions: (B, L) int64, below L.
        attention_mask: (B, L) bool.
        beyond: (2, D), what stands where there is none to the left, and to the right.

    Returns:
        (B, L, 2 D); that of a column which is not attended means nothing.
    """
    batch, length, width = tokens.shape
    # Which column stands at each position, shifted by one: places 0 and beyond the end are nobody's, which is the
    # extra column L. What is not attended writes to a place that nobody reads.
    place = torch.where(attention_mask, positions + 1, length + 2)
    columns = torch.arange(length, device=tokens.device).expand(batch, length)
    column_at = torch.full((batch, length + 3), length, device=tokens.device).scatter(1, place, columns)
    left, right = column_at.gather(1, positions), column_at.gather(1, positions + 2)
    either = torch.cat([left, right], dim=1)[..., None].expand(-1, -1, width)  # (B, 2 L, D)
    left_tokens, right_tokens = F.pad(tokens, (0, 0, 0, 1)).gather(1, either).chunk(2, dim=1)
    none_left, none_right = (left == length)[..., None], (right == length)[..., None]
    to_left, to_right = beyond.to(tokens.dtype)
    return torch.cat(
        [torch.where(none_left, to_left, left_tokens), torch.where(none_right, to_right, right_tokens)], dim=-1
    )
