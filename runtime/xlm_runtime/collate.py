"""Pure functions from token lists to tensors, for every collator: pad, truncate, mask, stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import BoolTensor, LongTensor, Tensor

from xlm_runtime.errors import DataError

Side: TypeAlias = Literal["left", "right"]
T = TypeVar("T")


def pad(sequences: Sequence[Sequence[int]], length: int, value: int, side: Side) -> LongTensor:
    """Token lists as the rows of an int64 tensor (B, length), filled up with ``value`` on ``side``.

    Raises ``DataError`` if a sequence is longer than ``length``: where cutting is right, call
    ``truncate`` first.
    """
    lengths = _lengths(sequences)
    present = _present(lengths, length, side)
    block = np.full((len(sequences), length), value, dtype=np.int64)
    # One conversion and one masked assignment: the mask runs row by row, as the flat tokens do.
    block[present] = np.fromiter(chain.from_iterable(sequences), np.int64, count=int(lengths.sum()))
    return torch.from_numpy(block)  # type: ignore[return-value]


def attended(sequences: Sequence[Sequence[Any]], length: int, side: Side) -> BoolTensor:
    """True where ``pad(sequences, length, value, side)`` holds a token: bool (B, length)."""
    return torch.from_numpy(_present(_lengths(sequences), length, side))  # type: ignore[return-value]


def mask_from_lengths(lengths: Sequence[int], length: int, side: Side) -> BoolTensor:
    """True on the ``lengths[i]`` places of row i that padding on ``side`` leaves: bool (B, length).

    Raises ``DataError`` if a length is negative or greater than ``length``.
    """
    counts = np.asarray(lengths, dtype=np.int64).reshape(-1)
    return torch.from_numpy(_present(counts, length, side))  # type: ignore[return-value]


def truncate(sequence: Sequence[T], length: int, side: Side) -> Sequence[T]:
    """At most ``length`` items of ``sequence``; what is too much is cut off on ``side``.

    Raises ``DataError`` if ``length`` is negative.
    """
    _check_side(side)
    if length < 0:
        raise DataError(f"Cannot truncate to {length} tokens; expected a length of at least 0.")
    if len(sequence) <= length:
        return sequence
    return sequence[:length] if side == "right" else sequence[len(sequence) - length :]


def stack(examples: Sequence[Mapping[str, Any]], key: str) -> Tensor:
    """``examples[i][key]`` as row i: (B,) for scalars, (B, L) for lists of one length.

    Integers become int64, floats float32, truth values bool.
    Raises ``DataError`` if an example lacks the key, if the rows differ in length (``pad`` fills
    them up), or if they hold anything but numbers.
    """
    for row, example in enumerate(examples):
        if key not in example:
            raise DataError(
                f"Row {row} of the batch has no {key!r}; "
                f"it has {', '.join(map(repr, example)) or 'nothing'}. "
                "Choose a dataset that yields it, or a collator that does not need it."
            )
    values = [example[key] for example in examples]
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"The {key!r} of the batch's rows differ in length ({_sizes(values)}), expected one "
            "length for all. Use pad to fill them up."
        ) from error
    if not values:
        return torch.zeros(0, dtype=torch.int64)
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"The {key!r} of the batch's rows are {type(values[0]).__name__}, "
            "expected numbers or lists of numbers. Convert them in the dataset."
        )
    kinds: dict[str, Any] = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float32}
    return torch.from_numpy(array.astype(kinds[array.dtype.kind], copy=False))


class PackedRows(TypedDict):
    """Rows of several documents."""

    input_ids: Tensor  # (B, L) int64: BOS d EOS BOS d EOS ... PAD...
    document_ids: Tensor  # (B, L) int64: 1, 2, ... for the documents of a row, 0 at padding
    first: Tensor  # (B, L) bool: the BOS of each document


def is_packed(examples: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the examples hold several ``documents`` each, instead of ``token_ids``."""
    return bool(examples) and "documents" in examples[0]


def packed_rows(
    examples: Sequence[Mapping[str, Any]], block_size: int, bos_id: int, eos_id: int, pad_id: int
) -> PackedRows:
    """Packed examples as rows ``BOS d EOS BOS d EOS ... PAD...`` of ``block_size`` tokens.

    Raises ``DataError`` if a row is too long: nothing is cut off here.
    """
    documents = [[[bos_id, *tokens, eos_id] for tokens in example["documents"]] for example in examples]
    rows = [list(chain.from_iterable(row)) for row in documents]
    numbers = [[n for n, tokens in enumerate(row, 1) for _ in tokens] for row in documents]
    input_ids = pad(rows, block_size, pad_id, "right")
    document_ids = pad(numbers, block_size, 0, "right")
    before = torch.cat([torch.zeros_like(document_ids[:, :1]), document_ids[:, :-1]], dim=1)
    return {
        "input_ids": input_ids,
        "document_ids": document_ids,
        "first": (document_ids != before) & (document_ids > 0),
    }


def first_documents(examples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For a collator of the predictor, which writes one text a row: of a packed example its first document."""
    if not is_packed(examples):
        return [dict(example) for example in examples]
    return [{"token_ids": example["documents"][0], "index": example["index"]} for example in examples]


def packed_keywords(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a model is told of a packed batch besides its ids: ``{"document_ids"}``; nothing of any other."""
    return {"document_ids": batch["document_ids"]} if "document_ids" in batch else {}


def _lengths(sequences: Sequence[Sequence[Any]]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(len, sequences), np.int64, count=len(sequences))


def _present(lengths: npt.NDArray[np.int64], length: int, side: Side) -> npt.NDArray[np.bool_]:
    _check_side(side)
    if lengths.size and (lengths.max() > length or lengths.min() < 0):
        row = int(np.flatnonzero((lengths > length) | (lengths < 0))[0])
        raise DataError(
            f"Row {row} of the batch has {lengths[row]} tokens, the block holds 0 to {length}. "
            "Raise the dataset's length for this block, or truncate."
        )
    places = np.arange(length)
    if side == "right":
        return places < lengths[:, None]
    return places >= length - lengths[:, None]


def _check_side(side: str) -> None:
    if side not in ("left", "right"):
        raise DataError(f"side is {side!r}, expected 'left' or 'right'.")


def _sizes(values: Sequence[Any]) -> str:
    sizes = (len(value) if hasattr(value, "__len__") else "scalar" for value in values[:8])
    return ", ".join(map(str, sizes))
