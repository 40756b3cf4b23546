"""MLM's loss: what is masked, what is scored, and what it must not depend on."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from mlm.datamodule_mlm import MlmCollator, MlmSeq2SeqCollator
from mlm.loss_mlm import MlmLoss
from mlm.model_mlm import MlmModel
from torch import Tensor, nn

from xlm_runtime.tokenizers import number_tokenizer

TOKENIZER = number_tokenizer(20)
V, MASK = len(TOKENIZER), TOKENIZER.mask_token_id


def model(**options: Any) -> MlmModel:
    torch.manual_seed(0)
    return MlmModel(V, d_model=32, num_layers=2, num_heads=2, d_ff=64, embedding_std=1.0, **options).eval()


def texts(count: int, longest: int = 9) -> list[dict[str, Any]]:
    return [{"index": i, "token_ids": [7 + (3 * i + j) % 20 for j in range(i % longest + 1)]} for i in range(count)]


def answers(count: int) -> list[dict[str, Any]]:
    return [{**example, "prompt_ids": [8 + i % 5] * (i % 4 + 1)} for i, example in enumerate(texts(count, 6))]


class Recorder(nn.Module):
    """Keeps what it is given; knows nothing."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int) -> Tensor:
        self.input_ids, self.attention_mask = input_ids, attention_mask
        return torch.zeros(len(input_ids), logits_to_keep, V)


@pytest.mark.parametrize("training", [True, False])
def test_the_law_of_the_masks(training: bool) -> None:
    """Each number of masked tokens is equally likely, but none: that text gets one mask, anywhere.

    With t ~ U(0, 1) each of 0 ... 3 of three tokens has probability 1/4, so one mask has 2/4. Catches a constant rate,
    a rate shared by the batch, and an example that is left without a mask.
    """
    torch.manual_seed(0)
    count = 40_000
    loss = MlmLoss(Recorder().train(training), TOKENIZER, seed=3)
    masks = loss.draw_mask(torch.ones(count, 3, dtype=torch.bool), torch.arange(count))
    expected = {1: 1 / 2, 2: 1 / 4, 3: 1 / 4}
    statistic = 0.0
    for mask in itertools.product((False, True), repeat=3):
        share = expected.get(sum(mask), 0.0) / {1: 3, 2: 3, 3: 1, 0: 1}[sum(mask)]
        found = int((masks == torch.tensor(mask)).all(1).sum())
        if not share:
            assert found == 0
            continue
        statistic += (found - share * count) ** 2 / (share * count)
    assert torch.special.gammaincc(torch.tensor(3.0), torch.tensor(statistic / 2)) > 1e-3


def test_only_the_answer_its_end_and_its_padding_are_masked() -> None:
    """Catches a mask in the prompt, and an answer's padding that is left out."""
    network = Recorder()
    collate = MlmSeq2SeqCollator(TOKENIZER, prompt_length=6, answer_length=9)
    batch = collate(answers(500))
    assert batch["input_ids"].shape == (500, 15)
    MlmLoss(network, TOKENIZER).loss_fn(batch)
    masked = network.input_ids == MASK
    assert not masked[:, :7].any()
    assert masked[:, 7:].float().mean(0).min() > 0.4
    assert torch.equal(network.input_ids[~masked], batch["input_ids"][~masked])


def test_padding_of_plain_text_is_masked_only_if_it_is_scored() -> None:
    """Catches padding that counts as text, or does not when it should."""
    for score_padding in (False, True):
        network = Recorder()
        batch = MlmCollator(TOKENIZER, 12, score_padding=score_padding)(texts(300))
        MlmLoss(network, TOKENIZER).loss_fn(batch)
        padding = batch["input_ids"] == TOKENIZER.pad_token_id
        assert bool((network.input_ids == MASK)[padding].any()) == score_padding
        assert bool(network.attention_mask[padding].all()) == score_padding


@pytest.mark.parametrize("options", [{}, {"inverse_count": True}, {"loss_on_visible": True}])
def test_the_loss_of_a_batch_is_that_of_its_rows(options: dict[str, Any]) -> None:
    """The mean weighted by ``weight``, in evaluation. Catches masks that depend on the batch, and a wrong weight."""
    loss = MlmLoss(model(), TOKENIZER, **options)
    collate = MlmCollator(TOKENIZER, 12)
    whole = loss.loss_fn(collate(texts(16)))
    if loss.loss_on_visible:
        assert whole["weight"] == collate(texts(16))["eligible"].sum()
    rows = [loss.loss_fn(collate([example])) for example in texts(16)]
    total = sum(row["weight"] for row in rows)
    assert torch.isclose(total, whole["weight"], atol=1e-4)
    assert torch.isclose(sum(row["loss"] * row["weight"] for row in rows) / total, whole["loss"], atol=1e-5)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("options", [{}, {"inverse_count": True}, {"loss_on_visible": True}])
def test_padding_and_order_change_nothing(options: dict[str, Any], shift: bool) -> None:
    """To 1e-5, padded further and permuted. Catches positions and neighbours that see padding, and masks that do."""
    loss = MlmLoss(model(neighbour_shift=shift), TOKENIZER, **options)
    # The longest text and the longest prompt fill their blocks.
    plain = loss.loss_fn(MlmCollator(TOKENIZER, 11)(texts(16)))["loss"]
    assert torch.isclose(loss.loss_fn(MlmCollator(TOKENIZER, 19)(texts(16)))["loss"], plain, atol=1e-5)
    assert torch.isclose(loss.loss_fn(MlmCollator(TOKENIZER, 11)(texts(16)[::-1]))["loss"], plain, atol=1e-5)
    prompted = loss.loss_fn(MlmSeq2SeqCollator(TOKENIZER, 4, 9)(answers(16)))["loss"]
    assert torch.isclose(loss.loss_fn(MlmSeq2SeqCollator(TOKENIZER, 11, 9)(answers(16)))["loss"], prompted, atol=1e-5)


def test_training_draws_anew_each_time() -> None:
    """Catches a fixed mask in training, which would be learnt by heart."""
    loss = MlmLoss(model().train(), TOKENIZER)
    batch = MlmCollator(TOKENIZER, 12)(texts(16))
    assert loss.loss_fn(batch)["loss"] != loss.loss_fn(batch)["loss"]
    loss.model.eval()
    assert loss.loss_fn(batch)["loss"] == loss.loss_fn(batch)["loss"]


def test_a_batch_without_a_token_costs_nothing() -> None:
    batch = MlmCollator(TOKENIZER, 12)(texts(4))
    batch["eligible"] = torch.zeros_like(batch["eligible"])
    output = MlmLoss(model(), TOKENIZER).loss_fn(batch)
    assert output["loss"] == 0 and output["weight"] == 0
