"""MLM's decoding: commit counts, what stays as it is, and what it costs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from mlm.datamodule_mlm import (
    MlmCollatorPrediction,
    MlmInfillingCollatorPrediction,
    MlmSeq2SeqCollatorPrediction,
)
from mlm.metrics_mlm import exact_match, network_calls, token_accuracy
from mlm.model_mlm import MlmModel
from mlm.predictor_mlm import MlmPredictor
from torch import Tensor

from xlm_runtime.errors import ConfigError
from xlm_runtime.tokenizers import number_tokenizer

TOKENIZER = number_tokenizer(20)
V, MASK, EOS, PAD = len(TOKENIZER), TOKENIZER.mask_token_id, TOKENIZER.eos_token_id, TOKENIZER.pad_token_id

# -- steps ---------------------------------------------------------------------------------------------------


class Watched(MlmModel):
    """An untrained model that keeps how many blanks each row had at each call; ``bias`` is added to its logits."""

    def __init__(self, **bias: float) -> None:
        torch.manual_seed(0)
        super().__init__(V, d_model=32, num_layers=2, num_heads=2, d_ff=64, embedding_std=1.0)
        self.bias = torch.zeros(V)
        for name, value in bias.items():
            self.bias[getattr(TOKENIZER, f"{name}_token_id")] = value
        self.blanks: list[list[int]] = []
        self.inputs: list[Tensor] = []
        self.asked: list[tuple[int, ...]] = []
        self.eval()

    def forward(self, input_ids: Tensor, *args: Any, **options: Any) -> Tensor:
        self.blanks.append((input_ids == MASK).sum(1).tolist())
        self.inputs.append(input_ids.clone())
        logits = super().forward(input_ids, *args, **options)
        self.asked.append(tuple(logits.shape[:2]))
        return logits + self.bias


def no_end(**bias: float) -> Watched:
    """Never writes EOS or PAD: every blank has to be filled."""
    return Watched(eos=-1e4, pad=-1e4, **bias)


def answers(count: int, answer_length: int = 14) -> Any:
    collate = MlmSeq2SeqCollatorPrediction(TOKENIZER, prompt_length=6, answer_length=answer_length)
    return collate([{"index": i, "prompt_ids": [7 + (i + j) % 20 for j in range(i % 5 + 1)]} for i in range(count)])


@pytest.mark.parametrize("method", ["random", "confidence"])
@pytest.mark.parametrize(("steps", "expected"), [(4, [13, 9, 6, 3]), (13, list(range(13, 0, -1))), (1, [13])])
def test_each_step_fills_its_share(method: str, steps: int, expected: list[int]) -> None:
    """⌈masked / steps left⌉. Catches a floor (which leaves work for the last step), and steps that fill nothing."""
    model = no_end()
    preds = MlmPredictor(model, TOKENIZER, method=method, steps=steps).predict(answers(3))
    assert model.blanks == [[count] * 3 for count in expected]
    assert not (preds["ids"] == MASK).any()
    assert preds["network_calls"].tolist() == [len(expected)] * 3


@pytest.mark.parametrize("method", ["random", "confidence"])
def test_more_steps_than_blanks_fill_one_each(method: str) -> None:
    """Catches steps without a commit, and network calls after the last blank is filled."""
    model = no_end()
    MlmPredictor(model, TOKENIZER, method=method, steps=1000).predict(answers(2))
    assert model.blanks == [[count] * 2 for count in range(13, 0, -1)]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("confidence", ["top_prob", "margin", "entropy"])
def test_the_threshold_fills_at_least_one_and_the_last_step_all(confidence: str, gamma: float) -> None:
    options: dict[str, Any] = {"method": "threshold", "confidence": confidence, "gamma": gamma}
    model = no_end()
    MlmPredictor(model, TOKENIZER, **options).predict(answers(4))
    for row in range(4):
        blanks = [call[row] for call in model.blanks if row < len(call)]
        assert all(later < earlier for earlier, later in itertools.pairwise(blanks)) or gamma > 0
    preds = MlmPredictor(no_end(), TOKENIZER, steps=3, **options).predict(answers(4))
    assert not (preds["ids"] == MASK).any()
    assert preds["network_calls"].max() <= 3


def test_noise_changes_the_order_and_not_the_words() -> None:
    """Much of it: every position is as likely to be first, anew in each row. Catches a noise that all share."""
    first = []
    for noise in (0.0, 1e6):
        model = no_end()
        MlmPredictor(model, TOKENIZER, confidence_noise=noise).predict(answers(400))
        first.append((model.inputs[1] != MASK)[:, 7:].double().mean(0))  # (13,)
    assert first[0].max() > 0.3
    assert first[1].max() < 1 / 13 + 4 * math.sqrt(1 / 13 / 400)


def test_random_asks_only_for_the_logits_that_it_uses() -> None:
    """Catches logits of every position, where one is filled."""
    model = no_end()
    MlmPredictor(model, TOKENIZER, method="random").predict(answers(2))
    assert model.asked == [(2, 1)] * 13


@pytest.mark.parametrize("method", ["random", "confidence", "threshold"])
def test_blocks_are_filled_from_left_to_right(method: str) -> None:
    """Catches a commit outside the current block. 13 positions in blocks of 4, of which the last has one."""
    model = no_end()
    preds = MlmPredictor(model, TOKENIZER, method=method, block_size=4, steps=8).predict(answers(3))
    for canvas in (inputs[:, -13:] for inputs in model.inputs):
        for row in (canvas == MASK).tolist():
            first = row.index(True)
            assert all(row[4 * (first // 4 + 1) :]), "a later block has been touched"
    assert not (preds["ids"] == MASK).any()
    assert preds["network_calls"].max() <= 8


# -- ends ----------------------------------------------------------------------------------------------------


def test_eos_ends_a_text_and_its_row() -> None:
    """With EOS likely everywhere, rows end early, leave the batch, and cost nothing more; behind EOS stands PAD."""
    model = Watched(eos=4.0)
    options: dict[str, Any] = {"method": "random", "temperature": 1.0, "block_size": 1}
    preds = MlmPredictor(model, TOKENIZER, **options).predict(answers(20))
    sizes = [len(call) for call in model.blanks]
    assert sizes[0] == 20 and sizes == sorted(sizes, reverse=True) and sizes[-1] < 20
    for ids, calls in zip(preds["ids"].tolist(), preds["network_calls"].tolist(), strict=True):
        end = ids.index(EOS) if EOS in ids else 12
        assert calls == end + 1  # from left to right: one for each position up to EOS
        assert set(ids[end + 1 :]) <= {PAD}
        assert MASK not in ids
    assert sum(sizes) == preds["network_calls"].sum()


def test_a_row_that_is_finished_is_what_it_is_alone() -> None:
    """Catches rows that are mixed up when others leave, and draws that depend on the batch."""
    options: dict[str, Any] = {"method": "random", "temperature": 1.0}
    batch = answers(12)
    together = MlmPredictor(Watched(eos=3.0), TOKENIZER, **options).predict(batch)
    for row in range(12):
        single = {key: value[row : row + 1] for key, value in batch.items()}
        alone = MlmPredictor(Watched(eos=3.0), TOKENIZER, **options).predict(single)
        assert torch.equal(alone["ids"][0], together["ids"][row])
        assert alone["network_calls"][0] == together["network_calls"][row]


def test_no_special_token_is_written() -> None:
    """Catches MASK, BOS, CLS, SEP or UNK in a text, though the network wants them."""
    model = Watched(mask=50.0, bos=50.0, cls=50.0, sep=50.0, unk=50.0)
    ids = MlmPredictor(model, TOKENIZER, temperature=1.0, method="random").predict(answers(8))["ids"]
    assert set(ids.flatten().tolist()) <= {PAD, EOS, *range(7, V)}


# -- infilling and plain generation --------------------------------------------------------------------------


def infilling(count: int) -> Any:
    examples = []
    for i in range(count):
        tokens = [7 + (3 * i + j) % 20 for j in range(10)]
        examples.append({"index": i, "token_ids": tokens, "infill_mask": [(i + j) % 3 == 0 for j in range(10)]})
    return MlmInfillingCollatorPrediction(TOKENIZER, block_size=16)(examples)


@pytest.mark.parametrize("method", ["random", "confidence", "threshold"])
def test_kept_tokens_never_change(method: str) -> None:
    """Catches a commit outside the blanks, and a text that is cut where tokens are kept: EOS and PAD are likely."""
    batch = infilling(9)
    kept = batch["input_ids"] != MASK
    model = Watched(eos=20.0, pad=20.0)
    preds = MlmPredictor(model, TOKENIZER, method=method, temperature=1.0, steps=3).predict(batch)
    assert torch.equal(preds["ids"][kept[:, 1:]], batch["target_ids"][kept[:, 1:]])
    filled = preds["ids"][~kept[:, 1:]]
    assert (filled >= 7).all()
    assert preds["network_calls"].max() <= 3


def test_a_row_without_blanks_costs_nothing() -> None:
    batch = infilling(3)
    batch["input_ids"][1, 1:] = batch["target_ids"][1]
    model = Watched()
    preds = MlmPredictor(model, TOKENIZER).predict(batch)
    assert preds["network_calls"][1] == 0
    assert torch.equal(preds["ids"][1], batch["target_ids"][1])
    assert all(0 not in call for call in model.blanks)


def test_texts_from_nothing() -> None:
    """Rows differ by their index only, and the examples' own texts are not looked at."""
    collate = MlmCollatorPrediction(TOKENIZER, block_size=9)
    predictor = MlmPredictor(no_end(), TOKENIZER, method="random", temperature=1.0)
    preds = predictor.predict(collate([{"index": i, "token_ids": [9] * i} for i in range(6)]))
    assert preds["ids"].shape == (6, 8)
    assert preds["ids"].unique(dim=0).shape[0] == 6
    again = predictor.predict(collate([{"index": i} for i in range(6)]))
    assert torch.equal(again["ids"], preds["ids"])


# -- rows and metrics ----------------------------------------------------------------------------------------


def test_rows_and_metrics_agree_on_what_is_right() -> None:
    """A text is right if and only if its ids are, whatever stands behind or within it."""
    collate = MlmSeq2SeqCollatorPrediction(TOKENIZER, prompt_length=4, answer_length=6)
    batch = collate([{"index": i, "prompt_ids": [7, 8], "token_ids": [9, 10]} for i in range(5)])
    ids = torch.tensor(
        [
            [9, 10, EOS, PAD, PAD],
            [9, 10, 11, EOS, PAD],
            [9, PAD, 10, EOS, PAD],  # PAD within a text is an error, and is shown
            [9, 10, PAD, PAD, PAD],  # so is a text without an end
            [EOS, PAD, PAD, PAD, PAD],
        ]
    )
    preds: Any = {"ids": ids, "network_calls": torch.tensor([1, 2, 3, 4, 5])}
    rows = MlmPredictor(Watched(), TOKENIZER).to_dict(batch, preds)
    assert exact_match(batch, preds)["value"].tolist() == [1, 0, 0, 0, 0]
    assert [row["text"] == row["truth"] for row in rows] == [True, False, False, False, False]
    assert rows[0] == {"prompt": "0 1", "text": "2 3", "truth": "2 3", "ids": [9, 10, EOS], "network_calls": 1}
    assert rows[2]["text"] == "2 [PAD] 3" and rows[4]["text"] == ""
    accuracy = token_accuracy(batch, preds)
    assert accuracy["value"].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 2 / 3, 0])
    assert accuracy["weight"].tolist() == [3] * 5
    assert network_calls(batch, preds)["value"].tolist() == [1, 2, 3, 4, 5]


def test_an_infilling_row_shows_its_blanks_and_counts_only_them() -> None:
    batch = infilling(2)
    right: Any = {"ids": batch["target_ids"], "network_calls": torch.tensor([1, 1])}
    rows = MlmPredictor(Watched(), TOKENIZER).to_dict(batch, right)
    assert rows[0]["prompt"] == "[MASK] 1 2 [MASK] 4 5 [MASK] 7 8"
    assert rows[0]["text"] == rows[0]["truth"] == "0 1 2 3 4 5 6 7 8 9"
    assert token_accuracy(batch, right)["weight"].tolist() == [4, 3]


def test_a_row_without_a_known_answer_has_no_truth_and_no_weight() -> None:
    batch = answers(2)
    preds = MlmPredictor(Watched(), TOKENIZER).predict(batch)
    assert [row["truth"] for row in MlmPredictor(Watched(), TOKENIZER).to_dict(batch, preds)] == [None, None]
    assert exact_match(batch, preds)["weight"].tolist() == [0, 0]


# -- nonsense ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "best"}, "expected one of: random, confidence, threshold"),
        ({"confidence": "luck"}, "expected one of: top_prob, margin, entropy"),
        ({"confidence_noise": -1.0}, "confidence_noise is -1.0"),
        ({"gamma": math.nan}, "gamma is nan"),
        ({"steps": 0}, "steps is 0"),
        ({"block_size": 0}, "block_size is 0"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_k": 0}, "top_k is 0"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        MlmPredictor(Watched(), TOKENIZER, **options)
    assert words in str(error.value)


def test_blocks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="block_size is 14, but there are 13 positions"):
        MlmPredictor(Watched(), TOKENIZER, block_size=14).predict(answers(1))
    with pytest.raises(ConfigError, match="Take at least 4 steps"):
        MlmPredictor(Watched(), TOKENIZER, block_size=4, steps=3).predict(answers(1))
