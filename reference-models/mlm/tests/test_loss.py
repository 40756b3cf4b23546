"""The loss against hand-computed numbers: a table of probabilities stands in for the network, masks are given."""

import math

import pytest
import torch
from torch import Tensor, nn
from xlm_runtime.tokenizers import number_tokenizer

from mlm import datamodule_mlm as datamodule
from mlm import loss_mlm as loss

TextCollator = datamodule.MlmCollator
Seq2SeqCollator = datamodule.MlmSeq2SeqCollator

TOKENIZER = number_tokenizer(3)
A, B, C = TOKENIZER.convert_tokens_to_ids(["0", "1", "2"])
EOS, PAD = TOKENIZER.eos_token_id, TOKENIZER.pad_token_id

#: In bits: what a token costs wherever it stands. The rest of the mass, 1/32, is on all other tokens.
BITS = {A: 1, B: 2, EOS: 3, PAD: 4, C: 5}


class Unigram(nn.Module):
    """log p(token), whatever stands around it."""

    def __init__(self) -> None:
        super().__init__()
        size = len(TOKENIZER)
        p = torch.full((size,), (1 - sum(2.0**-bits for bits in BITS.values())) / (size - len(BITS)))
        for token, bits in BITS.items():
            p[token] = 2.0**-bits
        self.logits = p.log()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int) -> Tensor:
        return self.logits.expand(len(input_ids), logits_to_keep, -1)


class GivenMasks(loss.MlmLoss):
    """Masks the canvas as it is told."""

    masks: list[list[int]]

    def draw_mask(self, eligible: Tensor, index: Tensor) -> Tensor:
        return torch.tensor(self.masks).bool()


def loss_of(collator, examples, masks, **options) -> Tensor:
    function = GivenMasks(Unigram(), TOKENIZER, **options)
    function.masks = masks
    batch = collator([{"index": i, **e} for i, e in enumerate(examples)])
    return function.loss_fn(batch)["loss"] / math.log(2)


def test_three_tokens_by_hand() -> None:
    # A B EOS, of which A and EOS are masked: 1 + 3 bits over two tokens.
    found = loss_of(TextCollator(TOKENIZER, block_size=4), [{"token_ids": [A, B]}], [[1, 0, 1]])
    assert found.item() == pytest.approx(2, abs=1e-6)


def test_the_mean_is_over_masked_tokens_not_over_rows() -> None:
    # 1 + 2 + 3 bits in the one row, 1 in the other: 7 bits over four tokens.
    examples = [{"token_ids": [A, B]}, {"token_ids": [A, A]}]
    found = loss_of(TextCollator(TOKENIZER, block_size=4), examples, [[1, 1, 1], [1, 0, 0]])
    assert found.item() == pytest.approx(7 / 4, abs=1e-6)


def test_inverse_count_weighs_a_row_by_its_masked_tokens_and_one() -> None:
    # The weights are 1/4 and 1/2: (6/4 + 1/2) over (3/4 + 1/2).
    examples = [{"token_ids": [A, B]}, {"token_ids": [A, A]}]
    collator = TextCollator(TOKENIZER, block_size=4)
    found = loss_of(collator, examples, [[1, 1, 1], [1, 0, 0]], inverse_count=True)
    assert found.item() == pytest.approx(2 / 1.25, abs=1e-6)


def test_loss_on_visible_scores_all_of_the_text() -> None:
    # A B EOS whatever is masked: 6 bits over three tokens.
    collator = TextCollator(TOKENIZER, block_size=4)
    found = loss_of(collator, [{"token_ids": [A, B]}], [[0, 1, 0]], loss_on_visible=True)
    assert found.item() == pytest.approx(2, abs=1e-6)


def test_an_answers_padding_is_scored() -> None:
    # A EOS PAD PAD after the prompt C: 1 + 3 + 4 + 4 bits over four tokens.
    collator = Seq2SeqCollator(TOKENIZER, prompt_length=3, answer_length=5)
    found = loss_of(collator, [{"prompt_ids": [C], "token_ids": [A]}], [[1, 1, 1, 1]])
    assert found.item() == pytest.approx(3, abs=1e-6)


def test_a_text_that_is_too_long_loses_its_end() -> None:
    # A B of A B C C and EOS: 1 + 2 bits over two tokens.
    found = loss_of(TextCollator(TOKENIZER, block_size=3), [{"token_ids": [A, B, C, C]}], [[1, 1]])
    assert found.item() == pytest.approx(1.5, abs=1e-6)
