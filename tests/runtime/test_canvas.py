"""Canvases: what stands where, what is attended, what is to be written, and which tokens are blanked out."""

from __future__ import annotations

import pytest
import torch

from xlm_runtime.canvas import blank_out, check_fraction, infill_blanks, seq2seq_canvas, text_canvas, with_blanks
from xlm_runtime.errors import ConfigError, DataError
from xlm_runtime.tokenizers import number_tokenizer

TOKENIZER = number_tokenizer(9)
PAD, MASK, EOS, BOS = 0, 2, 3, 4


def test_a_prompt_and_its_answer() -> None:
    examples = [
        {"prompt_ids": [7, 8], "token_ids": [9], "index": 5},
        {"prompt_ids": [10], "token_ids": [11, 12, 13], "index": 2},
    ]
    batch = seq2seq_canvas(TOKENIZER, examples, prompt_length=3, answer_length=5)
    assert batch["input_ids"].tolist() == [
        [PAD, 7, 8, BOS, 9, EOS, PAD, PAD],
        [PAD, PAD, 10, BOS, 11, 12, 13, EOS],
    ]
    assert batch["attention_mask"].int().tolist() == [[0, 1, 1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1, 1]]
    assert batch["eligible"].int().tolist() == [[1, 1, 1, 1]] * 2
    assert batch["index"].tolist() == [5, 2]


@pytest.mark.parametrize("whole", [False, True])
def test_plain_text(whole: bool) -> None:
    examples = [{"token_ids": [7], "index": 0}, {"token_ids": [8, 9, 10, 11], "index": 1}]
    batch = text_canvas(TOKENIZER, examples, 5, whole=whole)
    assert batch["input_ids"].tolist() == [[BOS, 7, EOS, PAD, PAD], [BOS, 8, 9, 10, 11]]
    padding = 1 if whole else 0
    assert batch["eligible"].int().tolist() == [[1, 1, padding, padding], [1, 1, 1, 1]]
    assert torch.equal(batch["attention_mask"][:, 1:], batch["eligible"])
    assert batch["attention_mask"][:, 0].all()


def test_an_unknown_text_is_all_padding() -> None:
    """And its truth has no token. Catches an EOS that would count as a known, empty answer."""
    examples = [{"prompt_ids": [7], "index": 0}, {"prompt_ids": [7], "token_ids": [], "index": 1}]
    canvas = seq2seq_canvas(TOKENIZER, examples, prompt_length=1, answer_length=3)
    batch = with_blanks(TOKENIZER, canvas, canvas["eligible"])
    assert batch["input_ids"].tolist() == [[7, BOS, MASK, MASK]] * 2
    assert batch["target_ids"].tolist() == [[PAD, PAD], [EOS, PAD]]
    assert batch["target_mask"].int().tolist() == [[0, 0], [1, 0]]


def test_blanks_are_of_the_last_positions_and_copy() -> None:
    ids = torch.arange(8).view(2, 4) + 7
    found = blank_out(ids, torch.tensor([[True, False], [False, True]]), MASK)
    assert found.tolist() == [[7, 8, MASK, 10], [11, 12, 13, MASK]]
    assert ids[0].tolist() == [7, 8, 9, 10]


def test_an_examples_own_infill_mask_is_taken() -> None:
    examples = [
        {"token_ids": [7, 8, 9], "infill_mask": [True, False, True], "index": 0},
        {"token_ids": [7] * 6, "infill_mask": [False] * 5 + [True], "index": 1},  # too long: cut off
    ]
    blanks = infill_blanks(examples, 6, 0.5, seed=0)
    assert blanks.int().tolist() == [[1, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    with pytest.raises(DataError, match="Example 7 has 2 token_ids, but an infill_mask of 1"):
        infill_blanks([{"token_ids": [7, 8], "infill_mask": [True], "index": 7}], 6, 0.5, seed=0)


def test_otherwise_a_span_is_drawn_by_seed_and_index() -> None:
    """Catches spans that depend on the batch, run into EOS or the padding, or are always at one place."""
    examples = [{"token_ids": [7] * 8, "index": i} for i in range(200)]
    blanks = infill_blanks(examples, 12, 0.25, seed=0)
    assert blanks.sum(1).tolist() == [2] * 200
    assert not blanks[:, 8:].any()
    starts = blanks.int().argmax(1)
    assert torch.equal(blanks, torch.arange(11) - starts[:, None] == (torch.arange(11) - starts[:, None]).clamp(0, 1))
    assert starts.unique().tolist() == list(range(7))
    assert torch.equal(infill_blanks(examples[50:51], 12, 0.25, seed=0)[0], blanks[50])
    assert not torch.equal(infill_blanks(examples, 12, 0.25, seed=1), blanks)


def test_a_span_has_one_token_at_least_and_none_of_an_empty_text() -> None:
    examples = [{"token_ids": [7] * n, "index": n} for n in range(4)]
    assert infill_blanks(examples, 6, 0.01, seed=0).sum(1).tolist() == [0, 1, 1, 1]
    assert infill_blanks(examples, 6, 1.0, seed=0).sum(1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.1])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="infill_fraction"):
        check_fraction(fraction)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="holds 0 to 2"):
        seq2seq_canvas(TOKENIZER, [{"prompt_ids": [7], "token_ids": [8, 9], "index": 0}], 1, 3)
    with pytest.raises(ConfigError, match="no room"):
        text_canvas(TOKENIZER, [{"token_ids": [7], "index": 0}], 1)
