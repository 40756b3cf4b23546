"""The loss against hand-computed numbers: a table of next-token probabilities stands in for the network."""

import math

import pytest
import torch
from torch import Tensor, nn
from xlm_runtime.tokenizers import number_tokenizer

from arlm import datamodule_arlm as datamodule
from arlm import loss_arlm as loss

TextCollator = datamodule.ArlmCollator
Seq2SeqCollator = datamodule.ArlmSeq2SeqCollator

TOKENIZER = number_tokenizer(3)
A, B, C = TOKENIZER.convert_tokens_to_ids(["0", "1", "2"])
BOS, EOS = TOKENIZER.bos_token_id, TOKENIZER.eos_token_id


class Bigram(nn.Module):
    """log p(next | this), the same wherever a token stands; what the table leaves out shares the rest."""

    def __init__(self, table: dict[tuple[int, int], float]) -> None:
        super().__init__()
        size = len(TOKENIZER)
        probabilities = torch.zeros(size, size)
        for (this, following), p in table.items():
            probabilities[this, following] = p
        rest = (1 - probabilities.sum(1, keepdim=True)) / (probabilities == 0).sum(1, keepdim=True)
        self.logits = torch.where(probabilities > 0, probabilities, rest).log()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int = 0) -> Tensor:
        return self.logits[input_ids][:, -logits_to_keep:]


MODEL = Bigram({(BOS, A): 1 / 2, (A, B): 1 / 4, (B, EOS): 1 / 8, (C, A): 1 / 32, (C, EOS): 1 / 4})


def loss_of(collator, examples) -> dict[str, Tensor]:
    return loss.ArlmLoss(MODEL, TOKENIZER).loss_fn(collator(examples))


def test_three_tokens_by_hand() -> None:
    # BOS -> A -> B -> EOS costs 1 + 2 + 3 bits over three tokens: 2 bits a token.
    output = loss_of(TextCollator(TOKENIZER, block_size=8), [{"token_ids": [A, B]}])
    assert output["num_tokens"] == 3
    assert output["loss"].item() == pytest.approx(2 * math.log(2), abs=1e-6)


def test_only_the_answer_and_its_end_are_scored() -> None:
    # The prompt C A would add 5 bits; it is not scored, and neither is BOS after it.
    collator = Seq2SeqCollator(TOKENIZER, prompt_length=5, answer_length=6)
    output = loss_of(collator, [{"prompt_ids": [C, A], "token_ids": [A, B]}])
    assert output["num_tokens"] == 3
    assert output["loss"].item() == pytest.approx(2 * math.log(2), abs=1e-6)


def test_score_prompt_scores_the_prompt_from_its_second_token_on() -> None:
    # C -> A costs 5 bits more, over one token more; C itself has nothing before it but padding.
    collator = Seq2SeqCollator(TOKENIZER, prompt_length=5, answer_length=6, score_prompt=True)
    output = loss_of(collator, [{"prompt_ids": [C, A], "token_ids": [A, B]}])
    assert output["num_tokens"] == 4
    assert output["loss"].item() == pytest.approx((1 + 2 + 3 + 5) / 4 * math.log(2), abs=1e-6)


def test_the_mean_is_over_tokens_not_over_rows() -> None:
    # Rows of 6 bits in 3 tokens and, BOS -> A -> ..., of 1 bit and what A -> EOS costs in 2.
    collator = TextCollator(TOKENIZER, block_size=8)
    short = -MODEL.logits[A, EOS].item()
    output = loss_of(collator, [{"token_ids": [A, B]}, {"token_ids": [A]}])
    assert output["loss"].item() == pytest.approx((6 * math.log(2) + math.log(2) + short) / 5, abs=1e-6)


def test_a_text_that_is_too_long_loses_its_end() -> None:
    output = loss_of(TextCollator(TOKENIZER, block_size=3), [{"token_ids": [A, B, C, C, C]}])
    assert output["num_tokens"] == 2
    assert output["loss"].item() == pytest.approx((1 + 2) / 2 * math.log(2), abs=1e-6)
