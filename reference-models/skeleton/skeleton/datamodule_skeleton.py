"""The collators of SKELETON: examples to batches. Special tokens are added here, and nowhere else.

An example is ``{"token_ids": [...], "index": 17}``, and ``"prompt_ids"`` where there is a prompt: ids without special
tokens. ``xlm_runtime.collate`` has what collators share.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from xlm_runtime import Collator, Seq2SeqCollator, Seq2SeqCollatorPrediction
from xlm_runtime.collate import attended, pad, truncate

from .types_skeleton import IGNORED, Batch, PredictionBatch

Examples = list[dict[str, Any]]


def next_tokens(input_ids: Tensor, mask: Tensor) -> Tensor:
    """Targets (B, L): position j holds token j + 1, or IGNORED where that is padding."""
    targets = torch.full_like(input_ids, IGNORED)
    targets[:, :-1] = torch.where(mask[:, 1:], input_ids[:, 1:], IGNORED)
    return targets


class SkeletonCollator(Collator):
    """Plain text, for training: ``BOS text EOS PAD...``; a text that is too long loses its end.

    Args:
        tokenizer: for the special ids.
        block_size: L.
    """

    # TODO: corrupt, mask or drop tokens here, or in the loss.
    def __init__(self, tokenizer: PreTrainedTokenizerBase, block_size: int) -> None:
        self.bos, self.eos, self.pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        self.block_size = block_size

    def __call__(self, examples: Examples) -> Batch:
        rows = [truncate([self.bos, *e["token_ids"], self.eos], self.block_size, "right") for e in examples]
        input_ids = pad(rows, self.block_size, self.pad, "right")
        mask = attended(rows, self.block_size, "right")
        return {"input_ids": input_ids, "attention_mask": mask, "target_ids": next_tokens(input_ids, mask)}


class SkeletonSeq2SeqCollator(Seq2SeqCollator):
    """Prompts and answers, for training: ``PAD... prompt | BOS answer EOS PAD...``; the answer is scored.

    Args:
        tokenizer: for the special ids.
        prompt_length: tokens of the prompt block.
        answer_length: tokens of the answer block, BOS and EOS included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_length: int, answer_length: int) -> None:
        self.bos, self.eos, self.pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        self.prompt_length, self.answer_length = prompt_length, answer_length

    def __call__(self, examples: Examples) -> Batch:
        prompts = [e["prompt_ids"] for e in examples]
        answers = [[self.bos, *e["token_ids"], self.eos] for e in examples]
        prompt_ids = pad(prompts, self.prompt_length, self.pad, "left")
        answer_ids = pad(answers, self.answer_length, self.pad, "right")
        prompt_mask = attended(prompts, self.prompt_length, "left")
        answer_mask = attended(answers, self.answer_length, "right")
        return {
            "input_ids": torch.cat([prompt_ids, answer_ids], dim=1),
            "attention_mask": torch.cat([prompt_mask, answer_mask], dim=1),
            "target_ids": next_tokens(answer_ids, answer_mask),
        }


class SkeletonSeq2SeqCollatorPrediction(Seq2SeqCollatorPrediction):
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
        }
