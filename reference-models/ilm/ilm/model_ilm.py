"""The network of ILM: ids to insertion logits and stop logits, by a bidirectional transformer.

    x = E[ids] + E_type[types] (+ E_pos[positions]) (+ W_s [E[left neighbour]; E[right neighbour]])
    h = Transformer(x, rotary positions);  logits = W_o h;  stop = W_2 GELU(W_1 h_CLS)
                                                                              (B, L) -> (B, L, V), (B, 1 + N)

Transformer and rotary positions (arXiv 2104.09864) as in Insertion Language Models (arXiv 2505.05755), and their two
heads. Column i's logits are about inserting right after its token. Positions are explicit, so that the columns may
stand in any order: the predictor keeps them in the order of insertion.

Departures, all optional. The terms in brackets: learned absolute positions (``max_positions``) besides the rotary ones,
and a learned projection of the embeddings of both neighbours in the sequence (``neighbour_shift``), zero beyond its
ends, which lets the first layer look pairs up. And a prompt that attends itself alone (``cached_prompt``), as that of a
prefix language model (arXiv 1910.10683): CLS, BOS and the text attend everything, as ever. What an insertion changes
then stays within the text, and the prompt's keys and values are computed once for all steps of the predictor. And a
stop head that counts (``count_up_to``, N): 0, 1, ... N or more tokens are missing. N is 1 in the paper: any, or none.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import (
    KVCache,
    Transformer,
    bidirectional_mask,
    init_weights,
    positions_from_mask,
    prompt_apart_mask,
)
from xlm_runtime.options import check_switch, check_whole_number

from .types_ilm import CLS_TYPE, PROMPT_TYPE, TEXT_TYPE, TYPES, ModelOutput


class IlmModel(nn.Module):
    """logits = W_o h, stop = W_2 GELU(W_1 h_CLS), h = Transformer(E[ids] + E_type[types]).

    (B, L) -> (B, L, V), (B, 1 + N).

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
        cached_prompt: the prompt attends itself alone; see the top of this file.
        count_up_to: N, up to which the stop head counts what is missing; see there, too.

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
        cached_prompt: bool = False,
        count_up_to: int = 1,
    ) -> None:
        super().__init__()
        check_switch("model.neighbour_shift", neighbour_shift)
        check_switch("model.cached_prompt", cached_prompt)
        check_whole_number("model.count_up_to", count_up_to, least=1)
        check_whole_number("model.max_positions", max_positions, least=1, or_null=True)
        self.cached_prompt = cached_prompt
        self.embedding = nn.Embedding(vocab_size, d_model, padding_idx=pad_id)
        self.type_embedding = nn.Embedding(len(TYPES), d_model)
        self.position_embedding = None if max_positions is None else nn.Embedding(max_positions, d_model)
        self.shift = nn.Linear(2 * d_model, d_model, bias=False) if neighbour_shift else None
        self.beyond = nn.Embedding(2, d_model) if neighbour_shift else None
        self.transformer = Transformer(d_model, num_layers, num_heads, d_ff, dropout)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        self.stop_head = nn.Sequential(nn.Linear(d_model, d_model), nn.GELU(), nn.Linear(d_model, 1 + count_up_to))
        init_weights(self, std=init_std, embedding_std=embedding_std, residual_std=residual_std)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        type_ids: Tensor | None = None,
        positions: Tensor | None = None,
        logits_to_keep: int = 0,
        cache: KVCache | None = None,
        prompt: int = 0,
    ) -> ModelOutput:
        """Insertion logits and stop logits.

        Args:
            input_ids: (B, L) int64; column 0 holds CLS.
            attention_mask: (B, L) bool, False at padding and at what is deleted; None: nothing is.
            type_ids: (B, L) int64 of 0, 1, 2; None: CLS, then text.
            positions: (B, L) int64, 0 ... of each row's real tokens, zero at the others; None: as they stand.
            logits_to_keep: only those of the last so many columns; 0 for all.
            cache: for these rows, one position longer than they get; with ``cached_prompt`` only. The first call leaves
                the prompt's keys and values in it, and the next ones do not compute its columns, which have no logits.
            prompt: with a cache, how many columns after CLS are the prompt's.

        Returns:
            Logits (B, L or logits_to_keep, V) and (B, 1 + N).

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
        assert cache is None or self.cached_prompt, "a prompt that sees the text cannot be kept while the text changes"
        known = 0 if cache is None else cache.length
        computed = partial(_but_prompt, prompt=prompt if known else 0)
        x = self._embed(input_ids, attention_mask, type_ids, positions, computed)  # (B, C, D)
        batch, length = x.shape[:2]
        # CLS, whose state says whether to stop, comes first; then the columns whose logits are wanted.
        first = max(length - logits_to_keep, 0) if logits_to_keep else 0
        wanted = F.pad(torch.arange(first, length, device=x.device), (1, 0)).expand(batch, -1)
        if cache is not None:
            cache.extend(computed(attention_mask))
        if cache is not None and known:
            mask = cache.attended[:, None, None, : cache.length].expand(-1, -1, length, -1)  # CLS is a key for each
        elif self.cached_prompt:
            mask = prompt_apart_mask(attention_mask, type_ids == PROMPT_TYPE)
        else:
            mask = bidirectional_mask(attention_mask)
        h = self.transformer(x, computed(positions), mask, cache=cache, keep=0 if first == 1 else wanted)
        if cache is not None:
            cache.truncate(1 + prompt)
            cache.attended[:, 0] = False  # this call's CLS, which saw the text
        return ModelOutput(self.head(h[:, 1:]), self.stop_head(h[:, 0]))

    def _embed(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        type_ids: Tensor,
        positions: Tensor,
        computed: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """The input of the transformer at the columns that ``computed`` leaves of (B, L): (B, C, D)."""
        tokens = self.embedding(input_ids)  # (B, L, D): also a column that is not computed may be a neighbour
        x = computed(tokens) + self.type_embedding(computed(type_ids))
        if self.position_embedding is not None:
            self._check_length(input_ids.shape[1], self.position_embedding.num_embeddings)
            x = x + self.position_embedding(computed(positions))
        if self.shift is not None and self.beyond is not None:
            x = x + self.shift(neighbours(tokens, positions, attention_mask, self.beyond.weight, computed))
        return x

    @staticmethod
    def _check_length(length: int, most: int) -> None:
        if length > most:
            raise ConfigError(
                f"A row has {length} columns, but model.max_positions is {most}. Raise it to the longest row that "
                "training and generation can meet (prompt, BOS, text and what may be inserted), or set it to null."
            )


def _but_prompt(columns: Tensor, prompt: int) -> Tensor:
    """(B, L, ...) without the ``prompt`` columns that come after the first."""
    return torch.cat([columns[:, :1], columns[:, 1 + prompt :]], dim=1) if prompt else columns


def neighbours(
    tokens: Tensor,
    positions: Tensor,
    attention_mask: Tensor,
    beyond: Tensor,
    computed: Callable[[Tensor], Tensor] = lambda columns: columns,
) -> Tensor:
    """The embeddings of the tokens one position to the left and to the right.

    Args:
        tokens: (B, L, D).
        positions: (B, L) int64, below L.
        attention_mask: (B, L) bool.
        beyond: (2, D), what stands where there is none to the left, and to the right.
        computed: which columns' neighbours are wanted: (B, L) -> (B, C).

    Returns:
        (B, C, 2 D); that of a column which is not attended means nothing.
    """
    batch, length, width = tokens.shape
    # Which column stands at each position, shifted by one: places 0 and beyond the end are nobody's, which is the
    # extra column L. What is not attended writes to a place that nobody reads.
    place = torch.where(attention_mask, positions + 1, length + 2)
    columns = torch.arange(length, device=tokens.device).expand(batch, length)
    column_at = torch.full((batch, length + 3), length, device=tokens.device).scatter(1, place, columns)
    wanted = computed(positions)
    left, right = column_at.gather(1, wanted), column_at.gather(1, wanted + 2)
    either = torch.cat([left, right], dim=1)[..., None].expand(-1, -1, width)  # (B, 2 C, D)
    left_tokens, right_tokens = F.pad(tokens, (0, 0, 0, 1)).gather(1, either).chunk(2, dim=1)
    none_left, none_right = (left == length)[..., None], (right == length)[..., None]
    to_left, to_right = beyond.to(tokens.dtype)
    return torch.cat(
        [torch.where(none_left, to_left, left_tokens), torch.where(none_right, to_right, right_tokens)], dim=-1
    )
