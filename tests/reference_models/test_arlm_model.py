"""ARLM: what its logits and its loss may and may not depend on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from arlm.datamodule_arlm import ArlmCollator, ArlmSeq2SeqCollator
from arlm.loss_arlm import ArlmLoss
from arlm_untrained import (
    ANSWER,
    BOS,
    EOS,
    EXAMPLES,
    PAD,
    PROMPT,
    TOKENIZER,
    WORDS,
    V,
    Watched,
    watched,
)
from torch import Tensor, nn

from xlm_runtime.errors import DataError


@pytest.fixture(params=[False, True], ids=["plain", "neighbour_shift"])
def model(request: pytest.FixtureRequest) -> Watched:
    return watched(neighbour_shift=request.param)


def rows_of_ids(*shape: int) -> Tensor:
    return torch.randint(min(WORDS), V, shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_padding_on_the_left_or_right_leaves_the_logits(model: Watched) -> None:
    ids = rows_of_ids(3, 9)
    expected = model(ids)
    for left, right in ((7, 0), (0, 5), (3, 4)):
        padded = nn.functional.pad(ids, (left, right), value=PAD)
        logits = model(padded, padded != PAD)[:, left : left + 9]
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_logit_depends_on_what_stands_before_it_alone(model: Watched) -> None:
    ids = rows_of_ids(2, 9)
    changed = ids.clone()
    changed[:, 5] = (ids[:, 5] - min(WORDS) + 1) % len(WORDS) + min(WORDS)
    before, after = model(ids), model(changed)
    torch.testing.assert_close(after[:, :5], before[:, :5], atol=1e-6, rtol=0)
    assert ((after - before).abs().amax(-1)[:, 5:] > 1e-3).all()


@torch.no_grad()
def test_the_last_logits_are_those_of_all(model: Watched) -> None:
    ids = rows_of_ids(2, 9)
    for count in (1, 4, 9):
        torch.testing.assert_close(model(ids, logits_to_keep=count), model(ids)[:, -count:])


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(9,), (4, 5), (1,) * 9, (3, 1, 1, 4)])
def test_with_a_cache_the_logits_are_those_without(model: Watched, cuts: tuple[int, ...]) -> None:
    ids = rows_of_ids(3, 9)
    ids[1, :4] = ids[2, :2] = PAD
    mask = ids != PAD
    cache = model.transformer.make_cache(3, 9)
    start, pieces = 0, []
    for cut in cuts:
        previous = None if start == 0 else ids[:, start - 1]
        piece = slice(start, start + cut)
        pieces.append(model(ids[:, piece], mask[:, piece], cache=cache, previous_ids=previous))
        start += cut
    torch.testing.assert_close(torch.cat(pieces, 1)[mask], model(ids, mask)[mask], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_neighbour_shift_brings_one_token_to_the_next_position() -> None:
    # Without the transformer between input and head, only the shift brings the token before to a position.
    class Nothing(nn.Module):
        def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
            return x

    ids = rows_of_ids(1, 4)
    changed = ids.clone()
    changed[0, 1] = ids[0, 1] - 1 if ids[0, 1] > WORDS[0] else WORDS[1]
    for shift, positions in ((False, [1]), (True, [1, 2])):
        net = watched(neighbour_shift=shift)
        net.transformer = Nothing()
        differs = (net(ids) != net(changed)).any(-1)[0]
        assert differs.nonzero().flatten().tolist() == positions


def test_the_embedding_of_padding_is_zero_and_gets_no_gradient() -> None:
    net = watched()
    ids = rows_of_ids(2, 5)
    ids[:, 0] = PAD
    net(ids, ids != PAD).square().sum().backward()
    assert net.embedding.weight[PAD].abs().sum() == 0
    assert net.embedding.weight.grad is not None and net.embedding.weight.grad[PAD].abs().sum() == 0


# -- the loss ----------------------------------------------------------------------------------------------


@torch.no_grad()
def loss(net: nn.Module, batch: Any) -> tuple[float, int]:
    output = ArlmLoss(net, TOKENIZER).loss_fn(batch)
    return output["loss"].item(), int(output["num_tokens"])


@pytest.mark.parametrize("score_prompt", [False, True])
def test_the_seq2seq_loss_does_not_depend_on_padding_or_the_order_of_rows(model: Watched, score_prompt: bool) -> None:
    """Catches a mean over all positions, padding that is attended, and positions counted from a row's first column."""

    def of(rows: list[dict[str, Any]], more: int) -> tuple[float, int]:
        return loss(model, ArlmSeq2SeqCollator(TOKENIZER, 20 + more, 14 + more, score_prompt)(rows))

    expected, tokens = of(EXAMPLES, 0)
    for rows, more in ((EXAMPLES, 9), (EXAMPLES[::-1], 0), (EXAMPLES[5:] + EXAMPLES[:5], 3)):
        value, count = of(rows, more)
        assert value == pytest.approx(expected, abs=1e-5)
        assert count == tokens


def test_the_loss_of_a_text_does_not_depend_on_padding_or_the_order_of_rows(model: Watched) -> None:
    """Catches a mean over all positions, and PAD among the targets."""
    expected, tokens = loss(model, ArlmCollator(TOKENIZER, 14)(EXAMPLES))
    for rows, size in ((EXAMPLES, 30), (EXAMPLES[::-1], 14)):
        assert loss(model, ArlmCollator(TOKENIZER, size)(rows)) == (pytest.approx(expected, abs=1e-5), tokens)


@torch.no_grad()
@pytest.mark.parametrize("score_prompt", [False, True])
def test_the_loss_is_the_mean_over_the_scored_tokens_of_a_row_by_row_sum(score_prompt: bool) -> None:
    net, total, count = watched(), 0.0, 0
    for example in EXAMPLES:
        row = torch.tensor([[*example["prompt_ids"], BOS, *example["token_ids"], EOS]])
        log_p = net(row)[0].log_softmax(-1)
        first = len(example["prompt_ids"]) + 1  # of the answer
        scored = list(range(first, row.shape[1]))
        if score_prompt:
            scored += range(1, first - 1)  # the prompt from its second token on; BOS is nobody's answer
        total -= sum(log_p[j - 1, row[0, j]].item() for j in scored)
        count += len(scored)
    value, tokens = loss(net, ArlmSeq2SeqCollator(TOKENIZER, PROMPT, ANSWER, score_prompt)(EXAMPLES))
    assert tokens == count
    assert value == pytest.approx(total / count, abs=1e-5)


def test_a_batch_without_a_scored_token_has_the_loss_zero() -> None:
    batch = ArlmCollator(TOKENIZER, 1)([{"token_ids": [WORDS[0]]}])
    assert loss(watched(), batch) == (0.0, 0)


def test_a_prompt_or_an_answer_that_does_not_fit_is_an_error() -> None:
    row = [{"index": 0, "prompt_ids": WORDS[:6], "token_ids": WORDS[:5]}]
    for collate in (ArlmSeq2SeqCollator(TOKENIZER, 5, 7), ArlmSeq2SeqCollator(TOKENIZER, 6, 6)):
        with pytest.raises(DataError, match="Row 0"):
            collate(row)
    ArlmSeq2SeqCollator(TOKENIZER, 6, 7)(row)
