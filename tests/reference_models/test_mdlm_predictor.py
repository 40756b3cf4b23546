"""MDLM's samplers: network calls, what stays as it is, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mdlm.datamodule_mdlm import (
    MdlmCollatorPrediction,
    MdlmInfillingCollatorPrediction,
    MdlmSeq2SeqCollatorPrediction,
)
from mdlm.model_mdlm import MdlmModel
from mdlm.predictor_mdlm import MdlmPredictor
from torch import Tensor

from xlm_runtime.errors import ConfigError
from xlm_runtime.noise import LogLinearNoise
from xlm_runtime.tokenizers import number_tokenizer

NOISE = LogLinearNoise()
TOKENIZER = number_tokenizer(20)
V, MASK, EOS, PAD = len(TOKENIZER), TOKENIZER.mask_token_id, TOKENIZER.eos_token_id, TOKENIZER.pad_token_id
METHODS = ["ddpm", "ddpm_cache", "first_hitting", "random", "confidence", "threshold"]

# -- steps and calls -----------------------------------------------------------------------------------------


class Watched(MdlmModel):
    """An untrained model that keeps what it is given at each call; ``bias`` is added to its logits."""

    def __init__(self, time_conditioning: bool = False, **bias: float) -> None:
        torch.manual_seed(0)
        options = {"d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 64, "embedding_std": 1.0}
        super().__init__(V, **options, time_conditioning=time_conditioning)
        self.bias = torch.zeros(V)
        for name, value in bias.items():
            self.bias[getattr(TOKENIZER, f"{name}_token_id")] = value
        self.inputs: list[Tensor] = []
        self.asked: list[tuple[int, ...]] = []
        self.times: list[Tensor] = []
        self.eval()

    def forward(
        self, input_ids: Tensor, attention_mask: Any = None, logits_to_keep: Any = 0, sigma: Any = None
    ) -> Tensor:
        self.inputs.append(input_ids.clone())
        self.times.append((1 - torch.exp(-sigma.double())) / (1 - NOISE.eps))
        logits = super().forward(input_ids, attention_mask, logits_to_keep, sigma)
        self.asked.append(tuple(logits.shape[:2]))
        return logits + self.bias

    def blanks(self) -> list[list[int]]:
        return [(ids == MASK).sum(1).tolist() for ids in self.inputs]


def no_end(**options: Any) -> Watched:
    """Never writes EOS or PAD: every blank has to be filled."""
    return Watched(eos=-1e4, pad=-1e4, **options)


def predict(model: Watched, batch: Any, **options: Any) -> Any:
    return MdlmPredictor(model, TOKENIZER, NOISE, **options).predict(batch)


def answers(count: int) -> Any:
    collate = MdlmSeq2SeqCollatorPrediction(TOKENIZER, prompt_length=6, answer_length=14)
    return collate([{"index": i, "prompt_ids": [7 + (i + j) % 20 for j in range(i % 5 + 1)]} for i in range(count)])


def infilling(count: int, **options: Any) -> Any:
    examples = []
    for i in range(count):
        tokens = [7 + (3 * i + j) % 20 for j in range(10)]
        examples.append({"index": i, "token_ids": tokens, "infill_mask": [(i + j) % 3 == 0 for j in range(10)]})
    return MdlmInfillingCollatorPrediction(TOKENIZER, block_size=16, **options)(examples)


def test_first_hitting_reveals_one_position_a_call() -> None:
    """And asks for its logits only. Catches steps that reveal none or several, and a call after the last one."""
    model = no_end()
    preds = predict(model, answers(3))
    assert model.blanks() == [[count] * 3 for count in range(13, 0, -1)]
    assert model.asked == [(3, 1)] * 13
    assert preds["network_calls"].tolist() == [13] * 3
    infilled = predict(no_end(), infilling(3))
    assert infilled["network_calls"].tolist() == [4, 3, 3]


@pytest.mark.parametrize("method", METHODS)
def test_a_text_with_blanks_is_as_noisy_as_it_has_masks(method: str) -> None:
    """The time that the network is told is near the share of masks, as in training. Catches a process that begins at
    t = 1 where most of the text is given."""
    model = no_end(time_conditioning=True)
    batch = infilling(4)
    canvas = batch["attention_mask"][:, -batch["target_ids"].shape[1] :].sum(1)
    blanks = (batch["input_ids"] == MASK).sum(1)
    predict(model, batch, method=method)
    assert torch.cat(model.times).max() <= (blanks / canvas).max() + 1e-6
    if method not in ("first_hitting", "ddpm_cache"):  # these come to the network at a drawn time
        assert model.times[0] == pytest.approx((blanks / canvas).double(), abs=1e-6)


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("block_size", [None, 4])
@pytest.mark.parametrize("steps", [5, 40])
def test_the_cache_changes_the_calls_and_not_the_text(steps: int, block_size: int | None, conditioned: bool) -> None:
    """Token for token. Catches logits that are kept for too long, and draws that depend on the calls."""
    options: dict[str, Any] = {"steps": steps, "block_size": block_size}
    plain, cached = no_end(time_conditioning=conditioned), no_end(time_conditioning=conditioned)
    for model in (plain, cached):
        torch.manual_seed(1)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    every = predict(plain, answers(6), method="ddpm", **options)
    few = predict(cached, answers(6), method="ddpm_cache", **options)
    assert torch.equal(every["ids"], few["ids"])
    assert every["network_calls"].max() <= steps
    assert (few["network_calls"] <= 13).all() and (few["network_calls"] <= every["network_calls"]).all()
    assert few["network_calls"].sum() == sum(len(ids) for ids in cached.inputs)
    # The cached network never sees the same row twice in the same state.
    seen = [tuple(row) for ids in cached.inputs for row in ids.tolist()]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [1, 2, 5, 13])
def test_the_last_step_leaves_no_mask(method: str, steps: int) -> None:
    """Catches a canvas that is given back with masks in it, and more steps than were asked for."""
    options = {} if method == "first_hitting" else {"steps": steps}
    preds = predict(no_end(), answers(4), method=method, **options)
    assert not (preds["ids"] == MASK).any()
    assert preds["network_calls"].max() <= options.get("steps", 13)


@pytest.mark.parametrize("method", METHODS)
def test_blocks_are_filled_from_left_to_right(method: str) -> None:
    """Catches a reveal outside the current block. 13 positions in blocks of 4, of which the last has one."""
    model = no_end()
    options = {} if method == "first_hitting" else {"steps": 9}
    preds = predict(model, answers(3), method=method, block_size=4, **options)
    for canvas in (inputs[:, -13:] for inputs in model.inputs):
        for row in (canvas == MASK).tolist():
            first = row.index(True)
            assert all(row[4 * (first // 4 + 1) :]), "a later block has been touched"
    assert not (preds["ids"] == MASK).any()


# -- the time that the network is told -----------------------------------------------------------------------


def test_ddpm_tells_the_time_of_the_step() -> None:
    model = no_end()
    predict(model, answers(2), method="ddpm", steps=4)
    assert torch.allclose(
        torch.stack([t[0] for t in model.times]), torch.tensor([1, 0.75, 0.5, 0.25]).double(), atol=1e-3
    )


def test_first_hitting_tells_the_time_of_the_reveal() -> None:
    """t falls from reveal to reveal, by the law of the largest of n uniforms. Catches u instead of u^(1/n)."""
    model = no_end()
    predict(model, answers(1000))
    times = torch.stack(model.times)  # (13, 1000)
    assert (times.diff(dim=0) < 0).all()
    # The k-th largest of 13 uniforms has the mean (14 − k) / 14.
    expected = torch.arange(13, 0, -1).double() / 14
    assert torch.allclose(times.mean(1), expected, atol=0.02)


@pytest.mark.parametrize("options", [{"method": "confidence"}, {"method": "random"}, {"block_size": 4}], ids=str)
def test_otherwise_the_time_is_the_share_of_masks(options: dict[str, Any]) -> None:
    model = no_end()
    predict(model, answers(2), **options)
    for times, blanks in zip(model.times, model.blanks(), strict=True):
        assert times.tolist() == pytest.approx([count / 13 for count in blanks], abs=1e-4)


# -- ends, kept tokens ---------------------------------------------------------------------------------------


def test_eos_ends_a_text_and_its_row() -> None:
    """Rows end early, leave the batch, and cost nothing more; behind EOS stands PAD."""
    model = Watched(eos=4.0)
    preds = predict(model, answers(20), block_size=1)
    sizes = [len(ids) for ids in model.inputs]
    assert sizes[0] == 20 and sizes == sorted(sizes, reverse=True) and sizes[-1] < 20
    for ids, calls in zip(preds["ids"].tolist(), preds["network_calls"].tolist(), strict=True):
        end = ids.index(EOS) if EOS in ids else 12
        assert calls == end + 1  # from left to right: one for each position up to EOS
        assert set(ids[end + 1 :]) <= {PAD} and MASK not in ids


@pytest.mark.parametrize("method", METHODS)
def test_a_text_does_not_depend_on_its_batch(method: str) -> None:
    """Catches rows that are mixed up when others leave, and draws that depend on the batch."""
    batch = answers(8)
    together = predict(Watched(eos=3.0), batch, method=method)
    for row in range(8):
        alone = predict(Watched(eos=3.0), {key: value[row : row + 1] for key, value in batch.items()}, method=method)
        assert torch.equal(alone["ids"][0], together["ids"][row])
        assert alone["network_calls"][0] == together["network_calls"][row]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("block_size", [None, 4])
def test_kept_tokens_never_change(method: str, block_size: int | None) -> None:
    """Catches a reveal of what was never masked, and a text that is cut where tokens are kept."""
    for batch in (infilling(9), infilling(9, score_padding=True)):
        blank = batch["input_ids"][:, 1:] == MASK
        preds = predict(Watched(eos=20.0, pad=20.0), batch, method=method, block_size=block_size)
        assert torch.equal(preds["ids"][~blank], batch["target_ids"][~blank])
        assert (preds["ids"][blank] >= 7).all()


def test_texts_from_nothing() -> None:
    collate = MdlmCollatorPrediction(TOKENIZER, block_size=9)
    preds = predict(no_end(), collate([{"index": i, "token_ids": [9] * i} for i in range(6)]))
    assert preds["ids"].shape == (6, 8)
    assert preds["ids"].unique(dim=0).shape[0] == 6


def test_rows_hold_text_and_calls() -> None:
    collate = MdlmSeq2SeqCollatorPrediction(TOKENIZER, prompt_length=4, answer_length=6)
    batch = collate([{"index": 0, "prompt_ids": [7, 8], "token_ids": [9, 10]}])
    preds: Any = {"ids": batch["target_ids"], "network_calls": torch.tensor([5])}
    rows = MdlmPredictor(Watched(), TOKENIZER, NOISE).to_dict(batch, preds)
    assert rows == [{"prompt": "0 1", "text": "2 3", "truth": "2 3", "ids": [9, 10, EOS], "network_calls": 5}]


# -- nonsense ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "ddim"}, "expected one of: ddpm, ddpm_cache, first_hitting, random, confidence, threshold"),
        ({"steps": 4}, "first_hitting has one a position"),
        ({"method": "ddpm", "steps": 0}, "steps is 0"),
        ({"block_size": 0}, "block_size is 0"),
        ({"confidence": "luck"}, "expected one of: top_prob, margin, entropy"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        MdlmPredictor(Watched(), TOKENIZER, NOISE, **options)
    assert words in str(error.value)


def test_a_noise_schedule_is_needed() -> None:
    with pytest.raises(ConfigError, match="noise_schedule=log_linear"):
        MdlmPredictor(Watched(), TOKENIZER)


def test_blocks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="block_size is 14, but there are 13 positions"):
        predict(Watched(), answers(1), block_size=14)
    with pytest.raises(ConfigError, match="Take at least 4 steps"):
        predict(Watched(), answers(1), method="ddpm", block_size=4, steps=3)
