"""The loss by hand-computed numbers: a table of insertion weights stands in for the network, deletions are given."""

import math

import pytest
import torch
from torch import Tensor, nn
from xlm_runtime.tokenizers import number_tokenizer

from ilm import datamodule_ilm as datamodule
from ilm import loss_ilm as loss
from ilm import types_ilm as types

TextCollator = datamodule.IlmCollator
Seq2SeqCollator = datamodule.IlmSeq2SeqCollator

TOKENIZER = number_tokenizer(3)
A, B, C = TOKENIZER.convert_tokens_to_ids(["0", "1", "2"])
BOS, EOS = TOKENIZER.bos_token_id, TOKENIZER.eos_token_id

#: The weight of inserting A, B or C right after a token. Those after BOS and B sum to 16.
WEIGHTS = {BOS: (4, 1, 1), B: (5, 3, 2), A: (1, 30, 1), C: (40, 1, 1)}


class Table(nn.Module):
    """log weight of each insertion, whatever stands around it; "nothing is missing" has probability 1/4."""

    def __init__(self) -> None:
        super().__init__()
        size = len(TOKENIZER)
        self.logits = torch.full((size, size), 50.0)  # special tokens: none of these may count
        for token, weights in WEIGHTS.items():
            self.logits[token, [A, B, C]] = torch.tensor(weights).float().log()
        self.stop = torch.tensor([1 / 4, 3 / 4]).log()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, type_ids: Tensor, logits_to_keep: int
    ) -> types.ModelOutput:
        return types.ModelOutput(self.logits[input_ids[:, -logits_to_keep:]], self.stop.expand(len(input_ids), 2))


def loss_of(collator, examples, deleted, **options) -> dict[str, float]:
    """In bits. ``deleted`` has an entry for each token of the text, BOS and padding aside."""
    function = loss.IlmLoss(Table(), TOKENIZER, **options)
    batch = collator([{"index": i, **e} for i, e in enumerate(examples)])
    mask = torch.zeros_like(batch["deletable"])
    for row, values in enumerate(deleted):
        mask[row, 1 : 1 + len(values)] = torch.tensor(values).bool()
    return {name: value.item() / math.log(2) for name, value in function.score(batch, mask).items()}


def test_three_tokens_by_hand() -> None:
    # A B C without A and C: BOS B is left. p(A after BOS) = 4/16, p(C after B) = 2/16: 2 and 3 bits, half each.
    # That something is missing has probability 3/4.
    found = loss_of(TextCollator(TOKENIZER, block_size=8), [{"token_ids": [A, B, C]}], [[1, 0, 1]])
    assert found["token_loss"] == pytest.approx(2.5, abs=1e-6)
    assert found["stop_loss"] == pytest.approx(math.log2(4 / 3), abs=1e-6)
    assert found["loss"] == pytest.approx(2.5 + math.log2(4 / 3), abs=1e-6)


def test_tokens_of_one_gap_share_its_slot_and_repeated_ones_count_twice() -> None:
    # A A C B without A, A, C: all three belong right after BOS, for 2, 2 and 4 bits.
    found = loss_of(TextCollator(TOKENIZER, block_size=8), [{"token_ids": [A, A, C, B]}], [[1, 1, 1, 0]])
    assert found["token_loss"] == pytest.approx((2 + 2 + 4) / 3, abs=1e-6)


def test_where_nothing_is_missing_only_the_stop_head_is_scored() -> None:
    found = loss_of(TextCollator(TOKENIZER, block_size=8), [{"token_ids": [B]}], [[0]], stop_loss_weight=3.0)
    assert found["token_loss"] == 0
    assert found["stop_loss"] == pytest.approx(2, abs=1e-6)
    assert found["loss"] == pytest.approx(3 * 2, abs=1e-6)


def test_the_prompt_is_no_slot() -> None:
    # Were A and C of the prompt slots, their weights of 32 and 42 would add to the 16.
    collator = Seq2SeqCollator(TOKENIZER, prompt_length=5, answer_length=6)
    found = loss_of(collator, [{"prompt_ids": [C, A], "token_ids": [A, B, C]}], [[1, 0, 1]])
    assert found["token_loss"] == pytest.approx(2.5, abs=1e-6)


def test_classes_are_weighted_and_rows_are_averaged() -> None:
    # Nothing is missing: 2 bits, weight 9/10. Something is: log2(4/3) bits, weight 1/10. And 2.5 bits in one of two.
    examples = [{"token_ids": [B]}, {"token_ids": [A, B, C]}]
    found = loss_of(TextCollator(TOKENIZER, block_size=8), examples, [[0], [1, 0, 1]], stop_class_weight=0.9)
    assert found["token_loss"] == pytest.approx(2.5 / 2, abs=1e-6)
    assert found["stop_loss"] == pytest.approx((0.9 * 2 + 0.1 * math.log2(4 / 3)) / 2, abs=1e-6)


def test_a_special_token_within_a_text_is_never_deleted() -> None:
    # It would have to be inserted again, and no special token ever is.
    collator = TextCollator(TOKENIZER, block_size=8)
    batch = collator([{"token_ids": [A, TOKENIZER.unk_token_id, EOS, B], "index": i} for i in range(50)])
    function = loss.IlmLoss(Table(), TOKENIZER)
    deleted = function.delete(batch["deletable"], batch["index"])
    assert deleted.any(0).tolist() == [False, True, False, False, True, False, False]
    assert torch.isfinite(function.loss_fn(batch)["loss"])
