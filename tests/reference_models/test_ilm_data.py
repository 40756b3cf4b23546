"""ILM's batches by hand, and the forms of data that they are made of: plain text, prompts and answers, gaps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ilm.datamodule_ilm import (
    IlmCollator,
    IlmCollatorPrediction,
    IlmInfillingCollatorPrediction,
    IlmSeq2SeqCollator,
    IlmSeq2SeqCollatorPrediction,
)
from ilm.predictor_ilm import IlmPredictor
from ilm.types_ilm import ModelOutput
from insertions import FIRST_WORD, TOKENIZER, V, examples, ids, words
from torch import Tensor, nn

from xlm_runtime.errors import ConfigError, DataError

CLS, BOS, PAD, UNK = (getattr(TOKENIZER, f"{name}_token_id") for name in ("cls", "bos", "pad", "unk"))
A, B, C = ids([0, 1, 2])


def test_a_plain_text_is_cut_to_its_block() -> None:
    batch = IlmCollator(TOKENIZER, block_size=5)([{"token_ids": [A, UNK, B, C], "index": 7}, *examples([[0]])])
    assert batch["input_ids"].tolist() == [[CLS, BOS, A, UNK, B], [CLS, BOS, A, PAD, PAD]]
    assert batch["attention_mask"].tolist() == [[True] * 5, [True, True, True, False, False]]
    assert batch["type_ids"].tolist() == [[0, 2, 2, 2, 2]] * 2
    # BOS, special tokens and padding stay.
    assert batch["deletable"].tolist() == [[False, True, False, True], [False, True, False, False]]
    assert batch["index"].tolist() == [7, 0]


def test_a_prompt_stands_between_cls_and_bos() -> None:
    batch = IlmSeq2SeqCollator(TOKENIZER, 3, 4)([{"prompt_ids": [C, B], "token_ids": [A, A], "index": 1}])
    assert batch["input_ids"].tolist() == [[CLS, PAD, C, B, BOS, A, A, PAD]]
    assert batch["attention_mask"].tolist() == [[True, False, True, True, True, True, True, False]]
    assert batch["type_ids"].tolist() == [[0, 1, 1, 1, 2, 2, 2, 2]]
    assert batch["deletable"].tolist() == [[False, True, True, False]]


def test_an_answer_is_inserted_after_bos_whether_it_is_known_or_not() -> None:
    rows: list[dict[str, Any]] = [{"prompt_ids": [C], "token_ids": [A, B], "index": 0}, {"prompt_ids": [B], "index": 1}]
    batch = IlmSeq2SeqCollatorPrediction(TOKENIZER, prompt_length=2)(rows)
    assert batch["input_ids"].tolist() == [[CLS, PAD, C, BOS], [CLS, PAD, B, BOS]]
    assert batch["slots"].tolist() == [[False, False, False, True]] * 2
    assert batch["target_ids"].tolist() == [[A, B], [PAD, PAD]]
    assert batch["target_mask"].tolist() == [[True, True], [False, False]]
    assert batch["known"].tolist() == [True, False]


def test_nothing_is_given_but_an_index() -> None:
    batch = IlmCollatorPrediction(TOKENIZER)([{"token_ids": [A], "index": 3}])
    assert batch["input_ids"].tolist() == [[CLS, BOS]] and batch["slots"].tolist() == [[False, True]]
    assert not batch["known"].any() and batch["index"].tolist() == [3]


def test_gaps_are_open_and_given_tokens_move_together() -> None:
    (row,) = examples([[0, 1, 2, 0]], infill_mask=[False, True, True, False])
    batch = IlmInfillingCollatorPrediction(TOKENIZER, block_size=6)([row])
    assert batch["input_ids"].tolist() == [[CLS, BOS, A, A, PAD, PAD]]
    assert batch["slots"].tolist() == [[False, False, True, False, False, False]]
    assert batch["target_ids"].tolist() == [[A, B, C, A]]
    assert batch["target_mask"].tolist() == [[False, True, True, False]]


def test_a_drawn_gap_is_the_same_in_every_batch_and_leaves_special_tokens() -> None:
    rows = [{"token_ids": [A, UNK, B, C] * 2, "index": i} for i in range(40)]
    collate = IlmInfillingCollatorPrediction(TOKENIZER, block_size=16, infill_fraction=0.5, seed=1)
    batch = collate(rows)
    assert torch.equal(collate(rows[7:8])["target_mask"], batch["target_mask"][7:8])
    assert len(batch["target_mask"].unique(dim=0)) == 4  # of five places; two of them differ in UNK alone
    assert not batch["target_mask"][:, [1, 5]].any()


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_nonsense_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="infill_fraction"):
        IlmInfillingCollatorPrediction(TOKENIZER, block_size=8, infill_fraction=fraction)
    with pytest.raises(DataError, match="infill_mask"):
        IlmInfillingCollatorPrediction(TOKENIZER, block_size=8)(examples([[0, 1]], infill_mask=[True]))


class UntilZero(nn.Module):
    """Any word anywhere; nothing is missing once a 0 has been inserted."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **columns: Any) -> ModelOutput:
        done = (input_ids[:, -1] == FIRST_WORD)[:, None]
        stop_logits = torch.where(done, torch.tensor([9.0, -9.0]), torch.tensor([-9.0, 9.0]))
        return ModelOutput(torch.zeros(len(input_ids), columns["logits_to_keep"], V), stop_logits)


def test_infilling_inserts_into_the_gaps_and_nowhere_else() -> None:
    """A text without a gap costs nothing. Catches given tokens that are slots, and gaps that are not any longer."""
    texts = [[0, 1, 2, 0, 1], [2, 1, 0], [1, 1]]
    masks = [[True, False, True, True, False], [False, False, True], [False, False]]
    rows = [{**e, "infill_mask": mask} for e, mask in zip(examples(texts), masks, strict=True)] * 50
    batch = IlmInfillingCollatorPrediction(TOKENIZER, block_size=8)([{**r, "index": i} for i, r in enumerate(rows)])
    predictor = IlmPredictor(UntilZero(), TOKENIZER, max_new_tokens=6, temperature=1.0)
    preds = predictor.predict(batch)
    found = [words(row) for row in preds["ids"].tolist()]
    assert len({len(text) for text in found}) > 5
    assert {len(text) for text in found[1::3]} >= {3, 4, 5}  # into one gap, again and again
    assert {text[0] for text in found[::3]} == {0, 1, 2}  # before the first token that is given
    for first, second, third in zip(found[::3], found[1::3], found[2::3], strict=True):
        assert first[-1] == 1 and 1 in first[:-1]  # _ 1 _ 1: nothing follows the last one
        assert second[:2] == (2, 1)  # 2 1 _
        assert third == (1, 1)
    assert preds["network_calls"][2::3].sum() == 0
    dicts = predictor.to_dict(batch, preds)
    assert dicts[0]["prompt"] == "[MASK] 1 [MASK] 1" and dicts[0]["truth"] == "0 1 2 0 1"
    assert dicts[2]["prompt"] == dicts[2]["text"] == "1 1"
