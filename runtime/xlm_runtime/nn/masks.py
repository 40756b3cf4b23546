"""Attention masks and positions, from the mask of real tokens, or of packed rows from the numbers of their documents.

A mask is boolean and True means "attend". Every query may attend itself, also where it is padding:
a row without a single key would turn its softmax into NaN, and a loss that multiplies by zero does
not remove a NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor


def causal_mask(attention_mask: Tensor, num_queries: int | None = None) -> Tensor:
    """Each query attends the real tokens before it, and itself.

    Args:
        attention_mask: (B, Lk), True (or 1) at real tokens.
        num_queries: how many of the last positions are queries (Lq); all by default. With a cache,
            the new ones.

    Returns:
        (B, 1, Lq, Lk) bool.
    """
    length = attention_mask.shape[-1]
    first = 0 if num_queries is None else length - num_queries
    key = torch.arange(length, device=attention_mask.device)
    query = key[first:, None]  # (Lq, 1)
    real = attention_mask[:, None, None, :].to(torch.bool)  # (B, 1, 1, Lk)
    return (real & (key < query)) | (key == query)


def bidirectional_mask(attention_mask: Tensor) -> Tensor:
    """Each query attends all real tokens, and itself.

    Args:
        attention_mask: (B, L), True (or 1) at real tokens.

    Returns:
        (B, 1, L, L) bool.
    """
    own = torch.eye(attention_mask.shape[-1], dtype=torch.bool, device=attention_mask.device)
    return attention_mask[:, None, None, :].to(torch.bool) | own


def prompt_apart_mask(attention_mask: Tensor, in_prompt: Tensor) -> Tensor:
    """Queries of the prompt attend its real tokens alone, all others all real tokens; each attends itself.

    What the network makes of a prompt then does not depend on the text beside it, and may be kept while the text
    changes. (The prefix of a prefix language model, arXiv 1910.10683, whose text is bidirectional, too.)

    Args:
        attention_mask: (B, L), True (or 1) at real tokens.
        in_prompt: (B, L) bool.

    Returns:
        (B, 1, L, L) bool.
    """
    seen = in_prompt[:, None, None, :] | ~in_prompt[:, None, :, None]
    own = torch.eye(attention_mask.shape[-1], dtype=torch.bool, device=attention_mask.device)
    return (attention_mask[:, None, None, :].to(torch.bool) & seen) | own


def document_mask(document_ids: Tensor, causal: bool = False) -> Tensor:
    """Each query attends its own document, and itself.

    Args:
        document_ids: (B, L) int64: the number of each token's document in its row, 0 at padding.
        causal: only what stands before the query.

    Returns:
        (B, 1, L, L) bool.
    """
    key, query = document_ids[:, None, None, :], document_ids[:, None, :, None]
    place = torch.arange(document_ids.shape[-1], device=document_ids.device)
    mask = (key == query) & (key > 0)
    if causal:
        mask = mask & (place < place[:, None])
    return mask | (place == place[:, None])


def attention_layout(
    attention_mask: Tensor, document_ids: Tensor | None = None, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Positions and mask of whole rows, be they a text each or several that are packed.

    Args:
        attention_mask: (B, L), True (or 1) at real tokens.
        document_ids: (B, L) int64, of packed rows; see ``document_mask``. None: a row is one text.
        causal: a token attends none behind it.

    Returns:
        (B, L) int64 and (B, 1, L, L) bool.
    """
    if document_ids is not None:
        return positions_in_documents(document_ids), document_mask(document_ids, causal)
    mask = causal_mask(attention_mask) if causal else bidirectional_mask(attention_mask)
    return positions_from_mask(attention_mask), mask


def positions_in_documents(document_ids: Tensor) -> Tensor:
    """Positions that begin anew with each document; zero at padding.

    Args:
        document_ids: (B, L) int64: the number of each token's document in its row, 0 at padding; the tokens of a
            document stand side by side.

    Returns:
        (B, L) int64.
    """
    place = torch.arange(document_ids.shape[-1], device=document_ids.device).expand_as(document_ids)
    begins = torch.ones_like(document_ids, dtype=torch.bool)
    begins[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    start = torch.where(begins, place, 0).cummax(-1).values
    return (place - start) * (document_ids > 0)


def positions_from_mask(attention_mask: Tensor) -> Tensor:
    """Positions that count real tokens only: ``cumsum(attention_mask) - 1``, zero at padding.

    Args:
        attention_mask: (B, L), True (or 1) at real tokens.

    Returns:
        (B, L) int64.
    """
    real = attention_mask.to(torch.int64)
    return (real.cumsum(-1) - 1) * real
