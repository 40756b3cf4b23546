"""The loss against hand-computed numbers: a table of next-token probabilities stands in for the network.

TODO: an example of your own objective that you can work out on paper.
"""

import math

import pytest
import torch
from torch import Tensor, nn
from xlm_runtime.tokenizers import number_tokenizer

from skeleton import datamodule_skeleton as datamodule
from skeleton import loss_skeleton as loss

TextCollator = datamodule.SkeletonCollator
Seq2SeqCollator = datamodule.SkeletonSeq2SeqCollator

TOKENIZER = number_tokenizer(3)
A, B, C = TOKENIZER.convert_tokens_to_ids(["0", "1", "2"])
BOS, EOS = TOKENIZER.bos_token_id, TOKENIZER.eos_token_id


class Bigram(nn.Module):
    """log p(next | this): BOS -> A costs 1 bit, A -> B 2 bits, B -> EOS 3 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = torch.full((len(TOKENIZER), len(TOKENIZER)), -math.inf)
        self.logits[BOS, A], self.logits[BOS, B] = math.log(1 / 2), math.log(1 / 2)
        self.logits[A, B], self.logits[A, C] = math.log(1 / 4), math.log(3 / 4)
        self.logits[B, EOS], self.logits[B, A] = math.log(1 / 8), math.log(7 / 8)
        self.logits[[C, EOS, TOKENIZER.pad_token_id]] = 0.0

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.logits[input_ids]


def test_three_tokens_by_hand() -> None:
    batch = TextCollator(TOKENIZER, block_size=8)([{"token_ids": [A, B]}])
    output = loss.SkeletonLoss(Bigram(), TOKENIZER).loss_fn(batch)
    assert output["num_tokens"] == 3
    assert output["loss"].item() == pytest.approx((1 + 2 + 3) / 3 * math.log(2), abs=1e-6)


def test_only_the_answer_and_its_end_are_scored() -> None:
    collator = Seq2SeqCollator(TOKENIZER, prompt_length=5, answer_length=6)
    batch = collator([{"prompt_ids": [C, B], "token_ids": [A, B]}])
    output = loss.SkeletonLoss(Bigram(), TOKENIZER).loss_fn(batch)
    assert output["num_tokens"] == 3
    assert output["loss"].item() == pytest.approx((1 + 2 + 3) / 3 * math.log(2), abs=1e-6)
