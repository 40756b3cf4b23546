"""The collators of ARLM: examples to batches. Special tokens are added here, and nowhere else.

For the loss: whole texts, or prompts and answers. For the predictor: what is to be continued, and the truth if known.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from xlm_runtime import Collator, CollatorPrediction, Seq2SeqCollator, Seq2SeqCollatorPrediction
from xlm_runtime.collate import attended, first_documents, is_packed, packed_rows, pad, stack, truncate
from xlm_runtime.errors import ConfigError
from xlm_runtime.options import check_switch, check_whole_number

from .types_arlm import IGNORED, Batch, PredictionBatch

Examples = list[dict[str, Any]]


def next_tokens(input_ids: Tensor, scored: Tensor) -> Tensor:
    """Targets (B, L): position j holds token j + 1 where that token is scored, else IGNORED.

    Args:
        input_ids: (B, L) int64.
        scored: (B, L) bool, of the tokens themselves.
    """
    targets = torch.full_like(input_ids, IGNORED)
    targets[:, :-1] = torch.where(scored[:, 1:], input_ids[:, 1:], IGNORED)
    return targets


class ArlmCollator(Collator):
    """Plain text: ``BOS text EOS PAD...``; a text that is too long loses its end, and then has no EOS.

    Packed examples become ``BOS text EOS BOS text EOS ... PAD...``; no BOS is scored.

    Args:
        tokenizer: for the special ids.
        block_size: L.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, block_size: int) -> None:
        self.bos, self.eos, self.pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        self.block_size = block_size

    def __call__(self, examples: Examples) -> Batch:
        if is_packed(examples):
            return self._packed(examples)
        rows = [truncate([self.bos, *e["token_ids"], self.eos], self.block_size, "right") for e in examples]
        input_ids = pad(rows, self.block_size, self.pad, "right")
        mask = attended(rows, self.block_size, "right")
        return {"input_ids": input_ids, "attention_mask": mask, "target_ids": next_tokens(input_ids, mask)}

    def _packed(self, examples: Examples) -> Batch:
        rows = packed_rows(examples, self.block_size, self.bos, self.eos, self.pad)
        input_ids, document_ids = rows["input_ids"], rows["document_ids"]
        mask = document_ids > 0
        targets = next_tokens(input_ids, mask & ~rows["first"])
        return {"input_ids": input_ids, "attention_mask": mask, "target_ids": targets, "document_ids": document_ids}


class ArlmSeq2SeqCollator(Seq2SeqCollator):
    """Prompts and answers: ``PAD... prompt | BOS answer EOS PAD...``.

    Args:
        tokenizer: for the special ids.
        prompt_length: tokens of the prompt block.
        answer_length: tokens of the answer block, BOS and EOS included.
        score_prompt: score the prompt's tokens too, from its second on (its first has nothing before it).

    Raises:
        ConfigError: ``score_prompt`` is neither true nor false.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt_length: int,
        answer_length: int,
        score_prompt: bool = False,
    ) -> None:
        self.bos, self.eos, self.pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        check_switch("score_prompt", score_prompt)
        self.prompt_length, self.answer_length = prompt_length, answer_length
        self.score_prompt = score_prompt

    def __call__(self, examples: Examples) -> Batch:
        prompts = [e["prompt_ids"] for e in examples]
        answers = [[self.bos, *e["token_ids"], self.eos] for e in examples]
        prompt_ids = pad(prompts, self.prompt_length, self.pad, "left")
        answer_ids = pad(answers, self.answer_length, self.pad, "right")
        prompt_mask = attended(prompts, self.prompt_length, "left")
        answer_mask = attended(answers, self.answer_length, "right")
        targets = next_tokens(answer_ids, answer_mask)  # (B, answer_length)
        if self.score_prompt:
            has_context = prompt_mask & prompt_mask.roll(1, dims=1)
            has_context[:, 0] = False
            targets = torch.cat([next_tokens(prompt_ids, has_context), targets], dim=1)
        return {
            "input_ids": torch.cat([prompt_ids, answer_ids], dim=1),
            "attention_mask": torch.cat([prompt_mask, answer_mask], dim=1),
            "target_ids": targets,
        }


class ArlmSeq2SeqCollatorPrediction(Seq2SeqCollatorPrediction):
    """Prompts to be answered: ``PAD... prompt BOS``; the answers, where they are known, to compare with.

    Args:
        tokenizer: for the special ids.
        prompt_length: tokens of the prompt block.
        answer_length: tokens of the answer block, BOS and EOS included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_length: int, answer_length: int) -> None:
        self.bos, self.eos, self.pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        self.prompt_length, self.answer_length = prompt_length, answer_length

    def __call__(self, examples: Examples) -> PredictionBatch:
        prompts = [[*e["prompt_ids"], self.bos] for e in examples]
        answers = [[*e["token_ids"], self.eos] if "token_ids" in e else [] for e in examples]
        return {
            "input_ids": pad(prompts, self.prompt_length + 1, self.pad, "left"),
            "attention_mask": attended(prompts, self.prompt_length + 1, "left"),
            "target_ids": pad(answers, self.answer_length, self.pad, "right"),
            "target_mask": attended(answers, self.answer_length, "right"),
            "index": stack(examples, "index"),
        }


class ArlmCollatorPrediction(CollatorPrediction):
    """Plain text to be written: ``BOS``, or ``PAD... BOS beginning`` to be continued.

    An example's ``prompt_ids`` are given as they are. With nothing given, of an example only its index counts, which
    seeds the row's draws: there is no truth. Else the truth is the rest of its text and EOS; a text that is too long for
    its block loses its end, as in training.

    Args:
        tokenizer: for the special ids.
        block_size: L of training, BOS and EOS included.
        prompt_tokens: so many tokens of each text are given, all of a shorter one.

    Raises:
        ConfigError: ``prompt_tokens`` below 0, or a block without room for one token more.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, block_size: int, prompt_tokens: int = 0) -> None:
        check_whole_number("prompt_tokens", prompt_tokens, least=0)
        if prompt_tokens > block_size - 2:
            raise ConfigError(
                f"prompt_tokens is {prompt_tokens}; expected at most {block_size - 2}: a block of {block_size} tokens "
                "(dataset.block_size) holds BOS, these, and one to be written at least."
            )
        self.bos, self.eos, self.pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        self.block_size = block_size
        self.prompt_tokens = prompt_tokens

    def __call__(self, examples: Examples) -> PredictionBatch:
        given = self.prompt_tokens
        examples = first_documents(examples)
        prompts = [[self.bos, *self._beginning(e)] for e in examples]
        length = max(1 + given, *map(len, prompts))
        rest_length = self.block_size - 1 - given
        known = [given > 0 and "prompt_ids" not in e for e in examples]
        rests = [
            truncate([*e["token_ids"][given:], self.eos], rest_length, "right") if is_known else []
            for e, is_known in zip(examples, known, strict=True)
        ]
        return {
            "input_ids": pad(prompts, length, self.pad, "left"),
            "attention_mask": attended(prompts, length, "left"),
            "target_ids": pad(rests, rest_length, self.pad, "right"),
            "target_mask": attended(rests, rest_length, "right"),
            "index": stack(examples, "index"),
        }

    def _beginning(self, example: dict[str, Any]) -> list[int]:
        if "prompt_ids" in example:
            return list(example["prompt_ids"])
        return example["token_ids"][: self.prompt_tokens] if self.prompt_tokens else []
