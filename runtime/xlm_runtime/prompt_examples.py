"""Prompts to examples, in the form that the model's own prediction collator takes.

The collator says which form that is, by the protocol of ``xlm_runtime.contracts`` that its class inherits:

    Seq2SeqCollatorPrediction      {"prompt_ids"}                  a prompt to be answered
    CollatorPrediction             {"prompt_ids"}                  a beginning to be continued, or nothing
    InfillingCollatorPrediction    {"token_ids", "infill_mask"}    a text with blanks; all blank: from nothing
    any other                      {"token_ids": []}               from nothing

All have ``index`` too, the prompt's place, which seeds its draws: the same in every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xlm_runtime.contracts import (
    CollatorPrediction,
    InfillingCollatorPrediction,
    Seq2SeqCollatorPrediction,
    inherits,
)
from xlm_runtime.discovery import discover
from xlm_runtime.errors import ConfigError, DataError
from xlm_runtime.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Example = dict[str, Any]


class PromptExamples:
    """A dataset each of whose splits is the prompts.

    Args:
        prompts: one an example.
        tokenizer: the model's.
        collator: the model's, of loader kind ``prediction``.
        block_size: tokens of a text's block, special tokens included, where the collator has such a number.
        prompt_length: tokens of a prompt's block, where the collator has such a number.

    Raises:
        ConfigError: the collator has no use for such prompts.
        DataError: a token outside the vocabulary, a special token, a prompt that is too long.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        tokenizer: PreTrainedTokenizerBase,
        collator: Any,
        block_size: int | None = None,
        prompt_length: int | None = None,
    ) -> None:
        self._tokenizer: Any = tokenizer
        self._block_size, self._prompt_length = block_size, prompt_length
        self._collator = collator
        self._examples = [{**self._example(prompt, n), "index": n} for n, prompt in enumerate(prompts)]

    def __getitem__(self, split: str) -> list[Example]:
        return self._examples

    def _example(self, prompt: Prompt, number: int) -> Example:
        place = f"Prompt {number + 1}"
        if inherits(self._collator, InfillingCollatorPrediction):
            return self._with_blanks(prompt, place)
        if prompt.marked:
            raise ConfigError(
                f"{place}, {prompt.text!r}, has a mask marker, but {self._name} fills no blanks: "
                f"{_instead_of_markers(self._collator)}"
            )
        if inherits(self._collator, Seq2SeqCollatorPrediction):
            if not prompt.parts:
                raise ConfigError(f"unconditional=true, but {self._name} answers prompts: give prompts=[...].")
            return {"prompt_ids": self._ids(prompt, place, self._prompt_length)}
        if inherits(self._collator, CollatorPrediction):
            return {"prompt_ids": self._ids(prompt, place, self._room)}
        if prompt.parts:
            raise ConfigError(
                f"prompts are given, but {self._name} takes none: its class inherits none of "
                "Seq2SeqCollatorPrediction, CollatorPrediction and InfillingCollatorPrediction. Choose another "
                "collator (collator@datamodule.collators.prediction=...), or let it inherit the one that it fits."
            )
        return {"token_ids": []}

    @property
    def _name(self) -> str:
        return type(self._collator).__name__

    @property
    def _room(self) -> int | None:
        """Tokens between the first special token and the last."""
        return None if self._block_size is None else self._block_size - 2

    def _with_blanks(self, prompt: Prompt, place: str) -> Example:
        if prompt.parts and not prompt.marked:
            raise DataError(
                f"{place}, {prompt.text!r}, has no blank, and {self._name} fills blanks. Write <mask> where a token is "
                "missing, <mask:8> where eight are."
            )
        ids: list[int] = []
        blank: list[bool] = []
        # Where nothing is given, the whole block is blank.
        for part in prompt.parts or (self._block_size or 1,):
            piece = [self._tokenizer.mask_token_id] * part if isinstance(part, int) else self._encode(part, place)
            ids += piece
            blank += [isinstance(part, int)] * len(piece)
        if prompt.parts:
            self._check_length(ids, place, self._room)
        return {"token_ids": ids, "infill_mask": blank}

    def _ids(self, prompt: Prompt, place: str, room: int | None) -> list[int]:
        ids = [i for part in prompt.parts for i in self._encode(str(part), place)]
        self._check_length(ids, place, room)
        return ids

    def _encode(self, text: str, place: str) -> list[int]:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = encoded["input_ids"]
        special = set(self._tokenizer.all_special_ids)
        outside = [
            text[start:end] for i, (start, end) in zip(ids, encoded["offset_mapping"], strict=True) if i in special
        ]
        if outside:
            raise DataError(
                f"{place}: {', '.join(map(repr, dict.fromkeys(outside)))} is not in the model's vocabulary of "
                f"{len(self._tokenizer)} tokens, or is a special token, which no prompt holds. Write the prompt in "
                "words of the data that the model was trained on."
            )
        return ids

    def _check_length(self, ids: list[int], place: str, room: int | None) -> None:
        if room is not None and len(ids) > room:
            raise DataError(
                f"{place} has {len(ids)} tokens, blanks included; the model takes at most {room}, special tokens aside "
                "(the block that it was trained with). Shorten it."
            )


def _instead_of_markers(collator: Any) -> str:
    """What this checkpoint does, and what of its model would fill blanks; only what is there is named."""
    answers = inherits(collator, Seq2SeqCollatorPrediction)
    does = "this checkpoint was trained on prompts and answers" if answers else "it continues prompts or writes texts"
    package = type(collator).__module__.partition(".")[0]
    model = discover().models.get(package)
    infilling = f"infilling_prediction_{package}"
    if model is None or not (model.configs / "collator" / f"{infilling}.yaml").is_file():
        return f"{does}. Leave the markers out."
    if not answers:
        return f"{does}. Choose the collator that does: collator@datamodule.collators.prediction={infilling}."
    on_texts = [f"{data}_{package}" for data in ("pydoc", "text")]
    there = [f"experiment={name}" for name in on_texts if (model.configs / "experiment" / f"{name}.yaml").is_file()]
    return f"{does}. Leave the markers out, or use a checkpoint trained on texts ({' or '.join(there) or package})."
