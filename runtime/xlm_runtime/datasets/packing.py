"""Documents to blocks: cut what is too long, and put short ones together, so that little of a block is empty.

A document longer than a block is cut into whole blocks and a rest; nothing else is cut, and nothing is dropped. Rests
and short documents are packed by best fit decreasing, window by window (Ding et al., "Fewer truncations improve
language modeling", 2024, arXiv 2404.10830): the longest first, each into the block that it fills best.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from xlm_runtime.errors import ConfigError, DataError

Integers = npt.NDArray[np.int64]


class Pieces(NamedTuple):
    """Slices of a stream of tokens, and which of them make a block: block i is pieces ``ends[i-1]`` to ``ends[i]``."""

    starts: Integers  # (P,)
    lengths: Integers  # (P,)
    ends: Integers  # (N,)


class PackedExample(dict[str, Any]):
    """``{"documents": [[…], […]], "index": …}``; asked for anything else, it says what it is."""

    def __missing__(self, key: str) -> NoReturn:
        raise DataError(
            f"A collator asks a packed example for {key!r}; it has 'documents', several texts. Set "
            "dataset.layout=padded, or let the collator take them (xlm_runtime.collate.packed_rows)."
        )


def check_room(block_size: int, special_tokens: int) -> int:
    """The most tokens of one document that a block holds.

    Raises:
        ConfigError: not even one.
    """
    if special_tokens < 0 or block_size <= special_tokens:
        raise ConfigError(
            f"dataset.block_size is {block_size} with {special_tokens} special tokens, expected room for one token of "
            "text. Raise dataset.block_size."
        )
    return block_size - special_tokens


def cut(starts: Integers, lengths: Integers, room: int) -> tuple[Integers, Integers]:
    """Documents to pieces of at most ``room`` tokens, in order; a document without tokens has none."""
    counts = -(-lengths // room)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return (
        np.repeat(starts, counts) + within * room,
        np.minimum(room, np.repeat(lengths, counts) - within * room),
    )


def padded(starts: Integers, lengths: Integers, room: int) -> Pieces:
    """Each piece is a block of its own."""
    starts, lengths = cut(starts, lengths, room)
    return Pieces(starts, lengths, np.arange(1, len(starts) + 1))


def packed(starts: Integers, lengths: Integers, block_size: int, special_tokens: int) -> Pieces:
    """Pieces put together: in each block, the sum of tokens and ``special_tokens`` a piece is at most ``block_size``.

    Blocks and the pieces of each are in the order of the documents.
    """
    starts, lengths = cut(starts, lengths, check_room(block_size, special_tokens))
    block = _best_fit(lengths + special_tokens, block_size)
    first = np.full(int(block.max(initial=-1)) + 1, len(starts))
    np.minimum.at(first, block, np.arange(len(starts)))
    order = np.argsort(first[block], kind="stable")  # a block's number is now that of its first piece
    sizes = np.unique(first[block], return_counts=True)[1]
    return Pieces(starts[order], lengths[order], np.cumsum(sizes))


def _best_fit(costs: Integers, capacity: int) -> Integers:
    """The block of each piece. A bit f of ``open_`` says that a block with f places left is known."""
    block = np.zeros(len(costs), np.int64)
    by_room: dict[int, list[int]] = {}
    open_, count = 0, 0
    for piece in np.argsort(-costs, kind="stable").tolist():
        cost = int(costs[piece])
        fitting = open_ >> cost
        if fitting:
            left = cost + (fitting & -fitting).bit_length() - 1  # the least that is enough
            number = by_room[left].pop()
            if not by_room[left]:
                open_ &= ~(1 << left)
        else:
            left, number = capacity, count
            count += 1
        block[piece] = number
        left -= cost
        if left:
            by_room.setdefault(left, []).append(number)
            open_ |= 1 << left
    return block


def waste(tokens: int, pieces: int, blocks: int, block_size: int, special_tokens: int) -> float:
    """The share of the blocks' places that hold neither text nor special tokens: padding."""
    return 1 - (tokens + pieces * special_tokens) / (blocks * block_size) if blocks else 0.0
