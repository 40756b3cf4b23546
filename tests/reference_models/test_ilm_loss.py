"""ILM's loss against its definition: the dense target, the law of the deletions, the exact expectation."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from ilm.datamodule_ilm import IlmCollator, IlmSeq2SeqCollator
from ilm.loss_ilm import IlmLoss
from ilm.types_ilm import ModelOutput
from insertions import (
    FIRST_WORD,
    TOKENIZER,
    WORDS,
    Tabulated,
    V,
    counts,
    deletions,
    examples,
    ids,
    p_value,
    random_model,
)
from torch import Tensor, nn

from xlm_runtime.errors import ConfigError


class Given(nn.Module):
    """Logits that are given, whatever the input."""

    def __init__(self, logits: Tensor, stop_logits: Tensor | None = None) -> None:
        super().__init__()
        self.logits = logits
        self.stop_logits = logits[:, 0, :2] if stop_logits is None else stop_logits
        self.kept: Tensor

    def forward(self, input_ids: Tensor, attention_mask: Tensor, type_ids: Tensor, logits_to_keep: int) -> ModelOutput:
        self.kept = input_ids
        assert self.logits.shape[:2] == (len(input_ids), logits_to_keep)
        return ModelOutput(self.logits, self.stop_logits)


def dense_loss(logits: Tensor, text: list[int], deleted: list[bool]) -> float:
    """The definition, for one row: logits (S, V) with BOS in column 0, text[j] in column j + 1."""
    n = sum(deleted)
    columns = [0, *(j + 1 for j, gone in enumerate(deleted) if not gone)]
    log_p = logits[columns][:, FIRST_WORD:].flatten().log_softmax(0).view(len(columns), WORDS)
    _, c = counts(text, deleted)
    return -sum(count / n * float(log_p[slot, word]) for (slot, word), count in c.items()) if n else 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gather_form_is_the_dense_definition(dtype: torch.dtype) -> None:
    """Catches a token that is charged to another slot than the last kept one before it, a sum that is not divided
    by n, repeated tokens that count once, and a softmax over slots or tokens that do not belong to it (the logits of
    special tokens, deleted columns and padding are as large as any)."""
    rng, generator = random.Random(0), torch.Generator().manual_seed(0)
    texts = [[rng.randrange(WORDS) for _ in range(rng.randrange(0, 7))] for _ in range(64)]
    masks = [[rng.random() < 0.6 for _ in text] for text in texts]
    assert any(max(counts(text, mask)[1].values(), default=0) >= 3 for text, mask in zip(texts, masks, strict=True))
    batch = IlmCollator(TOKENIZER, block_size=9)(examples(texts))
    logits = 2 * torch.randn(64, 8, V, generator=generator, dtype=dtype)
    deleted = torch.zeros(64, 8, dtype=torch.bool)
    for row, mask in enumerate(masks):
        deleted[row, 1 : 1 + len(mask)] = torch.tensor(mask, dtype=torch.bool)
    for row in range(64):
        one = {name: value[row : row + 1] for name, value in batch.items()}
        found = IlmLoss(Given(logits[row : row + 1]), TOKENIZER).score(one, deleted[row : row + 1])  # type: ignore[arg-type]
        assert found["token_loss"].item() == pytest.approx(dense_loss(logits[row], texts[row], masks[row]), abs=1e-6)
    together = IlmLoss(Given(logits), TOKENIZER).score(batch, deleted)["token_loss"]
    each = [dense_loss(*row) for row in zip(logits, texts, masks, strict=True)]
    assert together.item() == pytest.approx(sum(each) / 64, abs=1e-6)


def test_the_network_sees_nothing_of_what_is_deleted() -> None:
    """Catches deleted ids that are left in the input, where an embedding or a neighbour's could give them away."""
    model = Given(torch.zeros(1, 4, V))
    batch = IlmCollator(TOKENIZER, block_size=5)(examples([[0, 1, 2]]))
    IlmLoss(model, TOKENIZER).score(batch, torch.tensor([[False, True, False, True]]))
    cls, bos, pad = TOKENIZER.cls_token_id, TOKENIZER.bos_token_id, TOKENIZER.pad_token_id
    assert model.kept.tolist() == [[cls, bos, pad, *ids([1]), pad]]


@pytest.mark.parametrize("training", [True, False])
def test_the_expected_loss_is_the_exact_one(training: bool) -> None:
    """To three standard errors, over 20,000 deletions of one text with a repeated token. Catches n from another
    range or law, subsets that are not uniform, and class labels the wrong way round."""
    text, model = [0, 1, 1, 2], Tabulated(seed=1)
    exact_token = exact_stop = 0.0
    for probability, mask in deletions(len(text)):
        state, c = counts(text, mask)
        log_p, n = model.log_p(state), sum(mask)
        exact_token -= probability * sum(count / n * float(log_p[pair]) for pair, count in c.items())
        exact_stop -= probability * float(model.log_stop(state)[0 if n == 0 else 1])
    torch.manual_seed(0)
    model.train(training)
    loss, collate = IlmLoss(model, TOKENIZER, stop_loss_weight=0.5, seed=3), IlmCollator(TOKENIZER, block_size=9)
    values = []
    for batch in range(200):
        rows = [{"token_ids": ids(text), "index": 100 * batch + row} for row in range(100)]
        values.append([value.item() for value in loss.loss_fn(collate(rows)).values()])
    means = torch.tensor(values, dtype=torch.float64)
    standard_error = means.std(0) / math.sqrt(len(means))
    exact = torch.tensor([exact_token + 0.5 * exact_stop, exact_token, exact_stop], dtype=torch.float64)
    assert (standard_error < 0.02).all()
    assert ((means.mean(0) - exact).abs() < 3 * standard_error).all()


@pytest.mark.parametrize("training", [True, False])
def test_every_subset_comes_with_its_probability(training: bool) -> None:
    """Over 20,000 rows. Catches a bias of the subsets' sizes, or of places, that a mean could hide."""
    model = Tabulated().train(training)
    torch.manual_seed(0)
    deletable = torch.tensor([False, True, True, False, True, False]).repeat(20_000, 1)
    mask = IlmLoss(model, TOKENIZER).delete(deletable, torch.arange(20_000))
    assert not mask[~deletable].any()
    seen = mask[:, [1, 2, 4]].long() @ torch.tensor([1, 2, 4])
    law = {sum(2**j for j, gone in enumerate(drawn) if gone): p for p, drawn in deletions(3)}
    assert p_value(seen.bincount(minlength=8).tolist(), [law[i] for i in range(8)]) > 1e-3


def test_deletions_in_evaluation_depend_on_the_index_alone() -> None:
    """Catches draws that change with the batch's size, order or padding, or with what was drawn before."""
    loss = IlmLoss(Tabulated().eval(), TOKENIZER, seed=5)
    deletable = torch.tensor([False, *[True] * 6, False]).repeat(50, 1)
    index = torch.arange(50)
    mask = loss.delete(deletable, index)
    assert torch.equal(loss.delete(deletable.flip(0), index.flip(0)).flip(0), mask)
    assert torch.equal(loss.delete(deletable[7:8], index[7:8]), mask[7:8])
    longer = torch.cat([deletable, torch.zeros(50, 5, dtype=torch.bool)], dim=1)
    assert torch.equal(loss.delete(longer, index)[:, :8], mask)
    assert not torch.equal(IlmLoss(loss.model, TOKENIZER, seed=6).delete(deletable, index), mask)


@pytest.mark.parametrize("options", [{}, {"neighbour_shift": True, "max_positions": 64}, {"cached_prompt": True}])
@pytest.mark.parametrize("prompts", [False, True])
def test_padding_and_order_make_no_difference(prompts: bool, options: dict[str, object]) -> None:
    """To 1e-5. Catches a slot or a key of padding, and positions that go by column."""
    rng = random.Random(1)
    rows = examples([[rng.randrange(WORDS) for _ in range(rng.randrange(0, 7))] for _ in range(12)])
    for row in rows:
        row["prompt_ids"] = ids([rng.randrange(WORDS) for _ in range(rng.randrange(1, 6))])
    loss = IlmLoss(random_model(**options), TOKENIZER)

    def value(rows: list[dict[str, object]], more: int = 0) -> float:
        if prompts:
            return loss.loss_fn(IlmSeq2SeqCollator(TOKENIZER, 5 + more, 7 + more)(rows))["loss"].item()
        return loss.loss_fn(IlmCollator(TOKENIZER, 8 + more)(rows))["loss"].item()

    assert value(rows, more=5) == pytest.approx(value(rows), abs=1e-5)
    assert value(rows[::-1]) == pytest.approx(value(rows), abs=1e-5)
    assert sum(value([row]) for row in rows) / 12 == pytest.approx(value(rows), abs=1e-5)


def test_nothing_to_delete_is_a_whole_text() -> None:
    """An empty text costs nothing but the surprise that nothing is missing; gradients stay finite."""
    model = random_model().train()
    batch = IlmCollator(TOKENIZER, block_size=6)(examples([[], []]))
    output = IlmLoss(model, TOKENIZER).loss_fn(batch)
    output["loss"].backward()
    assert output["token_loss"] == 0
    log_q = model(batch["input_ids"], batch["attention_mask"]).stop_logits.log_softmax(-1)
    assert output["stop_loss"].item() == pytest.approx(-log_q[:, 0].mean().item(), abs=1e-5)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("weight", [None, 0.9])
def test_a_stop_head_that_counts_is_held_to_the_number(weight: float | None) -> None:
    """By hand, for 0 to 5 missing of which it tells 0, 1, 2, and more. Catches a class beside the number, numbers that
    are more than it tells, and a weight of "something is missing" that is only that of one."""
    stop_logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    batch = IlmCollator(TOKENIZER, block_size=8)(examples([[0, 1, 2, 1, 0]] * 6))
    deleted = torch.tensor([[False, *(place < n for place in range(5)), False] for n in range(6)])
    loss = IlmLoss(Given(torch.zeros(6, 7, V), stop_logits), TOKENIZER, stop_class_weight=weight)
    log_q = stop_logits.double().log_softmax(-1).tolist()
    weights = [1.0] * 6 if weight is None else [0.9, *[0.1] * 5]
    expected = -sum(w * log_q[n][min(n, 3)] for n, w in enumerate(weights)) / 6
    assert loss.score(batch, deleted)["stop_loss"].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "option", [{"stop_loss_weight": -1.0}, {"stop_loss_weight": math.nan}, {"stop_class_weight": 1.0}]
)
def test_nonsense_is_refused(option: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        IlmLoss(Tabulated(), TOKENIZER, **option)


def test_the_table_is_what_it_says() -> None:
    """Of these tests themselves: log_p and forward agree, for every state of up to three words."""
    model = Tabulated(seed=2)
    for state in itertools.chain(*(itertools.product(range(WORDS), repeat=k) for k in range(4))):
        batch = IlmCollator(TOKENIZER, block_size=6)(examples([state]))
        out = model(batch["input_ids"], batch["attention_mask"], batch["type_ids"], logits_to_keep=5)
        found = out.logits[0, : len(state) + 1, FIRST_WORD:].flatten().log_softmax(0)
        torch.testing.assert_close(found, model.log_p(state).flatten().float())
