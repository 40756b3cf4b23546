"""The loss by hand-computed numbers: a table of probabilities stands in for the network; times and masks are given."""

import math

import pytest
import torch
from torch import Tensor, nn
from xlm_runtime.noise import LogLinearNoise
from xlm_runtime.tokenizers import number_tokenizer

from mdlm import datamodule_mdlm as datamodule
from mdlm import loss_mdlm as loss

TextCollator = datamodule.MdlmCollator
Loss = loss.MdlmLoss
Seq2SeqCollator = datamodule.MdlmSeq2SeqCollator

TOKENIZER = number_tokenizer(3)
A, B, C = TOKENIZER.convert_tokens_to_ids(["0", "1", "2"])
EOS, PAD = TOKENIZER.eos_token_id, TOKENIZER.pad_token_id

#: In bits: what a token costs wherever it stands, once MASK is left out. The rest of the mass is on all other tokens.
BITS = {A: 1, B: 2, EOS: 3, PAD: 4, C: 5}


class Unigram(nn.Module):
    """log p(token), whatever stands around it; half of the network's own mass is on MASK."""

    def __init__(self) -> None:
        super().__init__()
        size = len(TOKENIZER)
        p = torch.full((size,), (1 - sum(2.0**-bits for bits in BITS.values())) / (size - len(BITS) - 1))
        for token, bits in BITS.items():
            p[token] = 2.0**-bits
        p[TOKENIZER.mask_token_id] = 1
        self.logits = p.log()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, sigma: Tensor) -> Tensor:
        return self.logits.repeat(len(input_ids), logits_to_keep, 1)


def bits_of(collator, examples, t, masks) -> float:
    """The NELBO of a batch, in bits, at the time t of each row and with the masks given."""
    function = Loss(Unigram(), TOKENIZER, LogLinearNoise())
    batch = collator([{"index": i, **e} for i, e in enumerate(examples)])
    place = (torch.tensor(t) - loss.FIRST_TIME) / (1 - loss.FIRST_TIME)
    uniforms = 1.0 - torch.tensor(masks)  # 0 is always below the mask probability, 1 never
    return function.nelbo(batch, place, uniforms).item() / math.log(2)


def test_three_tokens_by_hand() -> None:
    # A B EOS at t = 1/2, A and EOS masked: each of their 1 + 3 bits counts twice.
    collator = TextCollator(TOKENIZER, block_size=4)
    assert bits_of(collator, [{"token_ids": [A, B]}], [0.5], [[1.0, 0.0, 1.0]]) == pytest.approx(8, abs=1e-4)


def test_each_row_has_the_weight_of_its_own_time() -> None:
    # A at t = 1/4, B at t = 1/2: 4 * 1 + 2 * 2 bits.
    examples, masks = [{"token_ids": [A, B]}, {"token_ids": [A, B]}], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert bits_of(TextCollator(TOKENIZER, block_size=4), examples, [0.25, 0.5], masks) == pytest.approx(8, abs=1e-4)


def test_only_what_is_eligible_is_masked() -> None:
    # A EOS, and padding that a text does not write: 1 + 3 bits, counted twice.
    collator = TextCollator(TOKENIZER, block_size=6)
    assert bits_of(collator, [{"token_ids": [A]}], [0.5], [[1.0] * 5]) == pytest.approx(8, abs=1e-4)


def test_an_answers_padding_is_scored() -> None:
    # A EOS PAD PAD after the prompt C: 1 + 3 + 4 + 4 bits, counted twice.
    collator = Seq2SeqCollator(TOKENIZER, prompt_length=3, answer_length=5)
    found = bits_of(collator, [{"prompt_ids": [C], "token_ids": [A]}], [0.5], [[1.0] * 4])
    assert found == pytest.approx(24, abs=1e-4)


def test_the_nelbo_is_divided_by_all_tokens() -> None:
    # Four tokens of one bit each, whatever is visible: a mask costs 1/t with probability (1 - eps) t.
    collator = TextCollator(TOKENIZER, block_size=5)
    function = Loss(Unigram().eval(), TOKENIZER, LogLinearNoise(), eval_times=200)
    output = function.loss_fn(collator([{"index": i, "token_ids": [A, A, A, A, A]} for i in range(50)]))
    assert output["num_tokens"] == 50 * 4
    assert output["loss"].item() / math.log(2) == pytest.approx(1, abs=0.05)
