"""The collators of ILM: examples to batches. Special tokens are added here, and nowhere else.

The loss deletes, so training sees whole texts. For generation a row holds what is given, and which slots are open:
nothing but BOS (plain generation, and answers to a prompt), or the gaps of a text that has some (infilling).
"""

from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from xlm_runtime import Collator, InfillingCollatorPrediction, Seq2SeqCollator, Seq2SeqCollatorPrediction
from xlm_runtime.canvas import check_fraction, infill_blanks
from xlm_runtime.collate import attended, is_packed, pad, stack, truncate
from xlm_runtime.errors import ConfigError

from .types_ilm import TYPES, Batch, Inputs, PredictionBatch

Examples = list[dict[str, Any]]
Rows = list[list[int]]


class Layout:
    """``CLS | PAD... prompt | BOS text PAD...``: CLS and BOS are at the same column in every row.

    Args:
        tokenizer: for the special ids.
        prompt_length: columns of the prompt block.
        answer_length: columns of the answer block, BOS included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_length: int, answer_length: int) -> None:
        self.cls, self.bos, self.pad = tokenizer.cls_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id
        self.special = sorted(set(tokenizer.all_special_ids))
        self.prompt_length, self.answer_length = prompt_length, answer_length

    def inputs(self, prompts: Rows, texts: Rows) -> Inputs:
        """The columns of prompts and texts; neither holds special tokens yet."""
        first = [[self.cls]] * len(prompts)
        answers = [[self.bos, *text] for text in texts]
        blocks = ((first, 1, "left"), (prompts, self.prompt_length, "left"), (answers, self.answer_length, "right"))
        sizes = torch.tensor([1, self.prompt_length, self.answer_length])
        types = torch.tensor(TYPES).repeat_interleave(sizes)  # (L,)
        return {
            "input_ids": torch.cat([pad(rows, size, self.pad, side) for rows, size, side in blocks], dim=1),
            "attention_mask": torch.cat([attended(rows, size, side) for rows, size, side in blocks], dim=1),
            "type_ids": types.repeat(len(prompts), 1),
        }

    def batch(self, prompts: Rows, examples: Examples, texts: Rows) -> Batch:
        """For the loss."""
        inputs = self.inputs(prompts, texts)
        answer_ids = inputs["input_ids"][:, -self.answer_length :]
        # Padding and BOS are special, too.
        deletable = ~torch.isin(answer_ids, torch.tensor(self.special))
        return {**inputs, "deletable": deletable, "index": stack(examples, "index")}

    def prediction_batch(
        self, prompts: Rows, examples: Examples, texts: Rows, missing: list[list[bool]] | None = None
    ) -> PredictionBatch:
        """For the predictor.

        Args:
            prompts: (B) token ids.
            examples: (B), for their index; a row's text is known if it has ``token_ids``.
            texts: (B) whole texts; empty where none is known.
            missing: (B) which of their tokens are to be inserted, all others are given; None: all, at BOS.
        """
        all_missing = [[True] * len(text) for text in texts]
        gaps = [[True]] * len(texts) if missing is None else [open_slots(row) for row in missing]
        rows = list(zip(texts, missing or all_missing, strict=True))
        inputs = self.inputs(prompts, [[t for t, gone in zip(*row, strict=True) if not gone] for row in rows])
        slots = torch.zeros_like(inputs["attention_mask"])
        slots[:, -self.answer_length :] = pad(gaps, self.answer_length, 0, "right").bool()
        length = max(1, *map(len, texts))
        return {
            **inputs,
            "slots": slots,
            "target_ids": pad(texts, length, self.pad, "right"),
            "target_mask": pad([gone for _, gone in rows], length, 0, "right").bool(),
            "known": torch.tensor(["token_ids" in e for e in examples]),
            "index": stack(examples, "index"),
        }


class IlmCollator(Collator):
    """Plain text: ``CLS BOS text PAD...``; a text that is too long loses its end.

    Args:
        tokenizer: for the special ids.
        block_size: L.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, block_size: int) -> None:
        self.layout = Layout(tokenizer, 0, block_size - 1)

    def __call__(self, examples: Examples) -> Batch:
        return self.layout.batch([[]] * len(examples), examples, whole_texts(examples, self.layout))


class IlmSeq2SeqCollator(Seq2SeqCollator):
    """Prompts and answers: ``CLS | PAD... prompt | BOS answer PAD...``.

    Args:
        tokenizer: for the special ids.
        prompt_length: tokens of the prompt block.
        answer_length: tokens of the answer block, BOS included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_length: int, answer_length: int) -> None:
        self.layout = Layout(tokenizer, prompt_length, answer_length)

    def __call__(self, examples: Examples) -> Batch:
        return self.layout.batch([e["prompt_ids"] for e in examples], examples, [e["token_ids"] for e in examples])


class IlmSeq2SeqCollatorPrediction(Seq2SeqCollatorPrediction):
    """Prompts to be answered: ``CLS | PAD... prompt | BOS``; the answers, where they are known, to compare with.

    Args:
        tokenizer: for the special ids.
        prompt_length: tokens of the prompt block.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_length: int) -> None:
        self.layout = Layout(tokenizer, prompt_length, 1)

    def __call__(self, examples: Examples) -> PredictionBatch:
        answers = [e.get("token_ids", []) for e in examples]
        return self.layout.prediction_batch([e["prompt_ids"] for e in examples], examples, answers)


class IlmCollatorPrediction(Collator):
    """Text from nothing: ``CLS BOS``. Of an example only its index counts, which seeds the row's draws.

    Args:
        tokenizer: for the special ids.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.layout = Layout(tokenizer, 0, 1)

    def __call__(self, examples: Examples) -> PredictionBatch:
        unknown = [{"index": e["index"]} for e in examples]
        return self.layout.prediction_batch([[]] * len(examples), unknown, [[]] * len(examples))


class IlmInfillingCollatorPrediction(InfillingCollatorPrediction):
    """A text with gaps: ``CLS BOS kept tokens PAD...``, to be filled where tokens are missing, and only there.

    How many are missing is for the model to find out. A drawn gap leaves special tokens standing, for the model never
    inserts any.

    Args:
        tokenizer: for the special ids.
        block_size: tokens of a row, CLS and BOS included; a text that is too long loses its end.
        infill_fraction: an example without an ``infill_mask`` of its own gets one gap, this share of its text.
        seed: of the gaps' places; an example's depends on the seed and its index.

    Raises:
        ConfigError: ``infill_fraction`` outside (0, 1].
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, block_size: int, infill_fraction: float = 0.25, seed: int = 0
    ) -> None:
        check_fraction(infill_fraction)
        self.layout = Layout(tokenizer, 0, block_size - 1)
        self.block_size = block_size
        self.infill_fraction = infill_fraction
        self.seed = seed

    def __call__(self, examples: Examples) -> PredictionBatch:
        texts = whole_texts(examples, self.layout)
        # The block of a text alone: what a row holds besides CLS.
        blanks = infill_blanks(examples, self.block_size - 1, self.infill_fraction, self.seed).tolist()
        missing = [row[: len(text)] for text, row in zip(texts, blanks, strict=True)]
        for example, text, row in zip(examples, texts, missing, strict=True):
            if example.get("infill_mask") is None:
                row[:] = [gone and token not in self.layout.special for token, gone in zip(text, row, strict=True)]
        return self.layout.prediction_batch([[]] * len(examples), examples, texts, missing)


def whole_texts(examples: Examples, layout: Layout) -> Rows:
    """The examples' texts, without special tokens, cut off on the right to what the answer block holds.

    Raises a ConfigError for packed examples: an insertion moves all that follows it in its row.
    """
    if is_packed(examples):
        raise ConfigError(
            "The examples are packed, several texts a row. An insertion moves all that follows it in its row, so a row "
            "must be one text: set dataset.layout=padded."
        )
    return [list(truncate(e["token_ids"], layout.answer_length - 1, "right")) for e in examples]


def open_slots(missing: list[bool]) -> list[bool]:
    """Whether a token is missing right after BOS, and after each token that is given.

    ``missing`` has an entry for each token of the whole text; the result one for BOS and each token that is given.
    """
    slots = [False]
    for gone in missing:
        if gone:
            slots[-1] = True
        else:
            slots.append(False)
    return slots
