"""Canvases: rows of text with blanks, for models that write masked positions in any order.

A row of L positions is what is given, then a canvas of T positions, the last T of L::

    PAD... prompt BOS | answer EOS PAD...      a prompt and its answer: the whole canvas is the model's to write
    BOS | text EOS PAD...                      plain text: what is behind EOS is left out, or written too
    BOS | text EOS BOS text EOS ... PAD...     packed: several texts, which know nothing of one another

The functions here make batches of examples; ``xlm_runtime.nn.filling`` fills their blanks.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import torch
from torch import Tensor

from xlm_runtime.collate import attended, is_packed, packed_rows, pad, stack, truncate
from xlm_runtime.errors import ConfigError, DataError
from xlm_runtime.options import check_number

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Examples = Sequence[Mapping[str, Any]]


class CanvasBatch(TypedDict):
    """Clean text."""

    input_ids: Tensor  # (B, L) int64
    attention_mask: Tensor  # (B, L) bool, False at padding that is not the model's to write
    eligible: Tensor  # (B, T) bool: the positions of the canvas that are the model's to write
    index: Tensor  # (B,) int64, of the examples
    document_ids: NotRequired[Tensor]  # (B, L) int64, of packed rows: the number of each token's text, 0 at padding


class BlankBatch(TypedDict):
    """Text with blanks, and what stood there."""

    input_ids: Tensor  # (B, L) int64, MASK at the blanks
    attention_mask: Tensor  # (B, L) bool
    target_ids: Tensor  # (B, T) int64, the clean canvas; all PAD where no text is known
    target_mask: Tensor  # (B, T) bool: tokens of a known text, EOS included, that are blank now
    index: Tensor  # (B,) int64


def text_canvas(
    tokenizer: PreTrainedTokenizerBase, examples: Examples, block_size: int, whole: bool = False
) -> CanvasBatch:
    """Plain text as rows ``BOS | text EOS PAD...``; a text that is too long loses its end, and then has no EOS.

    Args:
        tokenizer: for the special ids.
        examples: with ``token_ids`` where a text is known, or several texts as ``documents``, and ``index``.
        block_size: L = 1 + T.
        whole: the padding is attended and eligible, as if it were text.

    Raises:
        ConfigError: a block without room; ``whole`` with packed examples, whose padding belongs to no text.
        DataError: packed examples that do not fit.
    """
    canvas_length = _room(block_size)
    if is_packed(examples):
        return _packed_canvas(tokenizer, examples, block_size, whole)
    texts = [truncate(text, canvas_length, "right") for text in _texts(tokenizer, examples)]
    return _canvas(tokenizer, examples, [[] for _ in examples], texts, 0, canvas_length, whole)


def seq2seq_canvas(
    tokenizer: PreTrainedTokenizerBase, examples: Examples, prompt_length: int, answer_length: int
) -> CanvasBatch:
    """Prompts and answers as rows ``PAD... prompt BOS | answer EOS PAD...``; all of the canvas is eligible.

    Args:
        tokenizer: for the special ids.
        examples: with ``prompt_ids``, ``token_ids`` where an answer is known, and ``index``.
        prompt_length: the most tokens of a prompt; L = prompt_length + answer_length.
        answer_length: 1 + T, BOS and EOS included.

    Raises:
        ConfigError: a block without room.
        DataError: a prompt or an answer that does not fit.
    """
    canvas_length = _room(answer_length)
    prompts = [example["prompt_ids"] for example in examples]
    texts = _texts(tokenizer, examples)
    return _canvas(tokenizer, examples, prompts, texts, prompt_length, canvas_length, whole=True)


def with_blanks(tokenizer: PreTrainedTokenizerBase, canvas: CanvasBatch, blanks: Tensor) -> BlankBatch:
    """A batch for a predictor: MASK where ``blanks`` (B, T) bool is True."""
    target_ids = canvas["input_ids"][:, -blanks.shape[1] :]
    return {
        "input_ids": blank_out(canvas["input_ids"], blanks, tokenizer.mask_token_id),
        "attention_mask": canvas["attention_mask"],
        "target_ids": target_ids,
        "target_mask": blanks & (target_ids != tokenizer.pad_token_id),
        "index": canvas["index"],
    }


def blank_out(input_ids: Tensor, blanks: Tensor, mask_id: int) -> Tensor:
    """``input_ids`` (B, L) with MASK where ``blanks`` (B, T), of the last T positions, is True."""
    start = input_ids.shape[1] - blanks.shape[1]
    return torch.cat([input_ids[:, :start], input_ids[:, start:].masked_fill(blanks, mask_id)], dim=1)


def infill_blanks(examples: Examples, block_size: int, fraction: float, seed: int) -> Tensor:
    """Which positions of ``text_canvas(examples, block_size)`` are to be filled in: (B, T) bool.

    Args:
        examples: with ``token_ids`` and ``index``, and perhaps ``infill_mask``, a list of truth values, one a token
            (True: fill in). An example without gets one span at a random place.
        block_size: L.
        fraction: the length of such a span over that of the text, in (0, 1]; at least one token.
        seed: of its place, together with ``index``.

    Raises:
        DataError: an ``infill_mask`` of another length than ``token_ids``.
    """
    canvas_length = _room(block_size)
    rows = [_infill_mask(example, canvas_length, fraction, seed) for example in examples]
    return pad(rows, canvas_length, False, "right").to(torch.bool)


def check_fraction(fraction: float) -> None:
    """Raise a ConfigError unless ``infill_fraction`` is in (0, 1]."""
    check_number("infill_fraction", fraction, "(0, 1]")


def _packed_canvas(tokenizer: PreTrainedTokenizerBase, examples: Examples, block_size: int, whole: bool) -> CanvasBatch:
    if whole:
        raise ConfigError(
            "score_padding is true, but the texts are packed: padding belongs to none of them. Set "
            "dataset.layout=padded, or score_padding=false."
        )
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    rows = packed_rows(examples, block_size, *special)
    real = rows["document_ids"] > 0
    return {
        "input_ids": rows["input_ids"],
        "attention_mask": real,
        "eligible": (real & ~rows["first"])[:, 1:],  # all but each BOS, which is given
        "index": stack(examples, "index"),
        "document_ids": rows["document_ids"],
    }


def _infill_mask(example: Mapping[str, Any], canvas_length: int, fraction: float, seed: int) -> Sequence[bool]:
    tokens, given = example["token_ids"], example.get("infill_mask")
    if given is not None:
        if len(given) != len(tokens):
            raise DataError(
                f"Example {example['index']} has {len(tokens)} token_ids, but an infill_mask of {len(given)}: expected "
                "one truth value for each token. Correct the dataset."
            )
        return truncate([bool(value) for value in given], canvas_length, "right")
    length = min(len(tokens), canvas_length)
    span = min(length, max(1, round(fraction * length)))
    # Python hashes a string's seed the same way on every machine.
    start = random.Random(f"infill {seed} {example['index']}").randint(0, length - span)
    return [start <= place < start + span for place in range(length)]


def _texts(tokenizer: PreTrainedTokenizerBase, examples: Examples) -> list[list[int]]:
    # Without an EOS where no text is known: that canvas is all PAD.
    return [[*example["token_ids"], tokenizer.eos_token_id] if "token_ids" in example else [] for example in examples]


def _room(block_size: int) -> int:
    if block_size < 2:
        raise ConfigError(
            f"A block of {block_size} tokens has no room for text after BOS. Raise dataset.block_size, or for an "
            "answer dataset.answer_length, to 2 at least."
        )
    return block_size - 1


def _canvas(
    tokenizer: PreTrainedTokenizerBase,
    examples: Examples,
    prompts: Sequence[Sequence[int]],
    texts: Sequence[Sequence[int]],
    prompt_length: int,
    canvas_length: int,
    whole: bool,
) -> CanvasBatch:
    given = [[*prompt, tokenizer.bos_token_id] for prompt in prompts]
    eligible: Tensor = attended(texts, canvas_length, "right")
    if whole:
        eligible = torch.ones_like(eligible)
    given_ids = pad(given, prompt_length + 1, tokenizer.pad_token_id, "left")
    canvas_ids = pad(texts, canvas_length, tokenizer.pad_token_id, "right")
    return {
        "input_ids": torch.cat([given_ids, canvas_ids], dim=1),
        "attention_mask": torch.cat([attended(given, prompt_length + 1, "left"), eligible], dim=1),
        "eligible": eligible,
        "index": stack(examples, "index"),
    }
