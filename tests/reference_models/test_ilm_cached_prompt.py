"""ILM's prompt that attends itself alone: its cache gives what the whole pass gives, and is made once."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from ilm.datamodule_ilm import IlmSeq2SeqCollator, IlmSeq2SeqCollatorPrediction
from ilm.loss_ilm import IlmLoss
from ilm.predictor_ilm import IlmPredictor
from ilm.types_ilm import PROMPT_TYPE
from insertions import TOKENIZER, WORDS, examples, from_nothing, ids, random_model
from torch import Tensor

from xlm_runtime.nn import positions_from_mask

PROMPTS = [[0, 1, 2], [2], [1, 1, 0, 2], []]


def with_prompts(texts: list[list[int]]) -> tuple[Tensor, ...]:
    """Ids, mask, types and positions of rows with ``PROMPTS``."""
    rows = [example | {"prompt_ids": ids(prompt)} for example, prompt in zip(examples(texts), PROMPTS, strict=True)]
    batch = IlmSeq2SeqCollator(TOKENIZER, prompt_length=5, answer_length=7)(rows)
    real = batch["attention_mask"]
    return batch["input_ids"], real, batch["type_ids"], positions_from_mask(real)


TEXTS, OTHER_TEXTS = [[0, 1], [], [2, 2, 1], [1]], [[2, 2, 2, 2], [1], [], [0, 1, 2]]
SHIFTED = {"neighbour_shift": True, "max_positions": 16}


@pytest.mark.parametrize("options", [{}, SHIFTED])
def test_a_prompt_that_is_cached_gives_the_same_logits(options: dict[str, Any]) -> None:
    """Also for a text that was not there at the first call, and after rows have left. Catches a cache of a prompt
    that saw the text, keys of padding, neighbours lost at the seam, and a cache that a call leaves changed."""
    model = random_model(cached_prompt=True, **options)
    columns = with_prompts(TEXTS)
    cache = model.transformer.make_cache(4, 1 + len(columns[0][0]))
    for texts, logits_to_keep in ((TEXTS, 7), (OTHER_TEXTS, 7), (TEXTS, 3), (OTHER_TEXTS, 0)):
        columns = with_prompts(texts)
        found = model(*columns, logits_to_keep=logits_to_keep, cache=cache, prompt=5)
        expected = model(*columns, logits_to_keep=logits_to_keep or 7)
        real = columns[1][:, -(logits_to_keep or 7) :]
        logits = found.logits if logits_to_keep else found.logits[:, 1:]  # CLS stands first, where all are kept
        torch.testing.assert_close(logits[real], expected.logits[real], atol=1e-5, rtol=0)
        torch.testing.assert_close(found.stop_logits, expected.stop_logits, atol=1e-5, rtol=0)
        assert cache.length == 6
    left = torch.tensor([3, 0])
    cache.select(left)
    found = model(*(c[left] for c in columns), logits_to_keep=7, cache=cache, prompt=5)
    torch.testing.assert_close(found.logits[real[left]], expected.logits[left][real[left]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, SHIFTED])
@pytest.mark.parametrize("cached_prompt", [True, False])
def test_the_prompt_sees_the_text_unless_it_is_to_be_cached(cached_prompt: bool, options: dict[str, Any]) -> None:
    """Logits of the prompt's columns, which nobody asks for, tell what they attend. Catches an option that is idle."""
    model = random_model(cached_prompt=cached_prompt, **options)
    real = with_prompts(TEXTS)[1][:, 1:6]
    one, other = (model(*with_prompts(texts)).logits[:, 1:6][real] for texts in (TEXTS, OTHER_TEXTS))
    assert torch.allclose(one, other, atol=1e-5) == cached_prompt
    text = with_prompts(TEXTS)
    changed = model(text[0].where(text[2] != PROMPT_TYPE, ids([0])[0]), *text[1:])
    assert not torch.allclose(changed.logits[:, 6], model(*text).logits[:, 6], atol=1e-2)  # BOS sees the prompt


def test_training_is_with_the_mask_of_decoding() -> None:
    """The loss of given deletions, in training, from logits that a cache gives. Catches a mask that only one has."""
    model = random_model(cached_prompt=True, **SHIFTED)
    rows = [e | {"prompt_ids": ids(p)} for e, p in zip(examples([[0, 1, 2, 1]] * 3), PROMPTS, strict=False)]
    batch = IlmSeq2SeqCollator(TOKENIZER, prompt_length=5, answer_length=5)(rows)
    nothing = torch.zeros(3, 5, dtype=torch.bool)
    trained = IlmLoss(model.train(), TOKENIZER).score(batch, nothing)
    columns = batch["input_ids"], batch["attention_mask"], batch["type_ids"]
    cache = model.eval().transformer.make_cache(3, 1 + 11)
    for _ in range(2):
        cached = model(*columns, cache=cache, prompt=5).stop_logits
    surprise = torch.nn.functional.cross_entropy(cached, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(trained["stop_loss"], surprise, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["joint", "slot_first", "threshold"])
def test_a_cached_prompt_gives_the_same_texts(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows end at different steps, and leave. After the first call no column of a prompt is computed. Catches a cache
    whose rows are not those of the step, and one that is made and not used."""
    rng = random.Random(3)
    rows = [{"prompt_ids": ids([rng.randrange(WORDS) for _ in range(1 + i % 6)]), "index": i} for i in range(24)]
    batch = IlmSeq2SeqCollatorPrediction(TOKENIZER, 6)(rows)
    model = random_model(cached_prompt=True, neighbour_shift=True)
    drawing = {} if method == "threshold" else {"temperature": 1.0}
    predictor = IlmPredictor(model, TOKENIZER, max_new_tokens=8, method=method, stop_threshold=0.5, **drawing)
    computed: list[tuple[int, int]] = []
    model.transformer.register_forward_pre_hook(lambda module, args: computed.append(args[0].shape[:2]))
    with torch.no_grad():
        model.stop_head[2].weight.mul_(4)  # so that it is sure now and then
    found = predictor.predict(batch)
    first, *later = computed
    assert first == (24, 1 + 6 + 1)
    assert later[0][0] < 24 and later[0][1] == 1 + 1 + 1
    assert max(width for _, width in later) <= 2 + 8
    monkeypatch.setattr(predictor, "_make_cache", lambda canvas, rows: None)
    expected = predictor.predict(batch)
    assert torch.equal(found["ids"], expected["ids"])
    assert torch.equal(found["network_calls"], expected["network_calls"])
    assert len(set(found["network_calls"].tolist())) > 1
    assert computed[-1][1] > 8


def test_text_from_nothing_has_no_prompt_to_cache() -> None:
    predictor = IlmPredictor(random_model(cached_prompt=True), TOKENIZER, max_new_tokens=5, stop_threshold=1.0)
    plain = IlmPredictor(random_model(), TOKENIZER, max_new_tokens=5, stop_threshold=1.0)
    assert torch.equal(predictor.predict(from_nothing(3))["ids"], plain.predict(from_nothing(3))["ids"])
