"""MDLM's loss is a NELBO: against exact values, and what it must not depend on."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import tabulated
import torch
from mdlm.datamodule_mdlm import MdlmCollator, MdlmSeq2SeqCollator
from mdlm.loss_mdlm import FIRST_TIME, MdlmLoss
from mdlm.model_mdlm import MdlmModel
from tabulated import LENGTH, TEXTS, Tabulated, inconsistent, joint, posterior
from torch import Tensor, nn

from xlm_runtime.errors import ConfigError
from xlm_runtime.noise import LogLinearNoise
from xlm_runtime.tokenizers import number_tokenizer

NOISE = LogLinearNoise()
TOKENIZER = number_tokenizer(20)
V = len(TOKENIZER)


def model(**options: Any) -> MdlmModel:
    torch.manual_seed(0)
    return MdlmModel(V, d_model=32, num_layers=2, num_heads=2, d_ff=64, embedding_std=1.0, **options).eval()


def texts(count: int, longest: int = 9) -> list[dict[str, Any]]:
    return [{"index": i, "token_ids": [7 + (3 * i + j) % 20 for j in range(i % longest + 1)]} for i in range(count)]


def answers(count: int) -> list[dict[str, Any]]:
    return [{**example, "prompt_ids": [8 + i % 5] * (i % 4 + 1)} for i, example in enumerate(texts(count, 6))]


# -- exact values --------------------------------------------------------------------------------------------


def exact_nelbo(network: Tabulated, text: tabulated.State) -> float:
    """∫ (1/t) Σ_S P(S | t) CE_S dt over [0.001, 1] by its mean, every set S of masked positions enumerated.

    P(S | t) = m^n (1 − m)^(T − n) with m = (1 − ε) t and n = |S| is a polynomial in t, so the integral is exact.
    """
    nelbo = 0.0
    for masked in itertools.product((False, True), repeat=LENGTH):
        n = sum(masked)
        if n == 0:
            continue
        state = tuple(tabulated.BLANK if gone else word for gone, word in zip(masked, text, strict=True))
        p = network.p(state)
        nll = -sum(math.log(p[j, text[j]]) for j in range(LENGTH) if masked[j])
        integral = 0.0
        for k in range(LENGTH - n + 1):  # (1 − m)^(T − n), term by term
            power = n + k
            coefficient = math.comb(LENGTH - n, k) * (-1) ** k * (1 - NOISE.eps) ** power
            integral += coefficient * (1 - FIRST_TIME**power) / power  # of t^(power − 1)
        nelbo += nll * integral / (1 - FIRST_TIME)
    return nelbo


def text_batch(text: tabulated.State, rows: int, first: int = 0) -> dict[str, Tensor]:
    ids = torch.tensor([tabulated.BOS, *(tabulated.FIRST_WORD + word for word in text)]).repeat(rows, 1)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids, dtype=torch.bool),
        "eligible": torch.ones(rows, LENGTH, dtype=torch.bool),
        "index": torch.arange(first, first + rows),
    }


def estimates(network: Tabulated, text: tabulated.State, *, training: bool) -> Tensor:
    """Losses of batches of 512, in nats per token: 200 in training, 50 of a grid of 4 times in evaluation."""
    torch.manual_seed(1)
    loss = MdlmLoss(network.train(training), tabulated.TOKENIZER, NOISE, eval_times=4)
    count = 200 if training else 50
    return torch.stack([loss.loss_fn(text_batch(text, 512, 512 * i))["loss"] for i in range(count)])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("text", TEXTS[::9])
def test_the_loss_estimates_the_exact_nelbo(text: tabulated.State, training: bool) -> None:
    """To three standard errors. Catches: no SUBS (the table gives MASK more than half of the mass), no weight 1/t,
    a division by the masked count, and masks that are not drawn with the schedule's probability.
    """
    network = Tabulated(inconsistent())
    found = estimates(network, text, training=training)
    error = found.std().item() / math.sqrt(len(found))
    exact = exact_nelbo(network, text) / LENGTH
    assert error < 0.01 * exact
    assert found.mean().item() == pytest.approx(exact, abs=3 * error)


def test_the_bound_is_tight_for_the_true_posterior() -> None:
    """A denoiser that knows the law has NELBO(x) = -log p(x), but for ε and the first thousandth of the time.

    Catches a normalisation that is consistent and still no bound.
    """
    p = joint()
    network = Tabulated(posterior(p))
    for text in TEXTS[::5]:
        assert exact_nelbo(network, text) == pytest.approx(-math.log(p[text]), rel=0.002)
    text = TEXTS[5]
    found = estimates(network, text, training=False) * LENGTH
    error = found.std().item() / math.sqrt(len(found))
    assert found.mean().item() == pytest.approx(-math.log(p[text]), rel=0.002, abs=3 * error)


class Recorder(nn.Module):
    """Keeps the noise levels that it is told, and what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.sigma: list[Tensor] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, sigma: Tensor) -> Tensor:
        self.sigma.append(sigma)
        self.input_ids = input_ids
        return torch.zeros(len(input_ids), logits_to_keep, V)

    def times(self) -> Tensor:
        t = (1 - torch.exp(-torch.stack(self.sigma).double())) / (1 - NOISE.eps)
        return (t - FIRST_TIME) / (1 - FIRST_TIME)  # in [0, 1)


def test_the_times_of_a_batch_are_spread_evenly_and_each_rows_is_uniform() -> None:
    """Catches independent times, and times that are tied to the row's place in the batch."""
    torch.manual_seed(0)
    network = Recorder().train()
    loss, batch = MdlmLoss(network, TOKENIZER, NOISE), MdlmCollator(TOKENIZER, 12)(texts(16))
    for _ in range(400):
        loss.loss_fn(batch)
    times = network.times()  # (400, 16)
    gaps = times.sort(dim=1).values.diff(dim=1)
    assert torch.allclose(gaps, torch.full_like(gaps, 1 / 16), atol=1e-4)
    uniform = torch.linspace(0, 1, 400, dtype=torch.float64)
    for row in times.T:  # Kolmogorov and Smirnov
        assert (row.sort().values - uniform).abs().max() < 1.95 / math.sqrt(400)


def test_evaluation_takes_an_even_grid_for_each_row() -> None:
    """Catches times that depend on the batch, and a grid that is no grid."""
    network = Recorder().eval()
    loss, collate = MdlmLoss(network, TOKENIZER, NOISE, eval_times=5), MdlmCollator(TOKENIZER, 12)
    loss.loss_fn(collate(texts(8)))
    together = network.times()  # (5, 8)
    assert torch.allclose(together.diff(dim=0), torch.full((4, 8), 0.2, dtype=torch.float64), atol=1e-4)
    assert together[0].unique().numel() == 8
    network.sigma.clear()
    loss.loss_fn(collate(texts(8)[3:4]))
    assert torch.equal(network.times()[:, 0], together[:, 3])


# -- what it must not depend on ------------------------------------------------------------------------------


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("shift", [False, True])
def test_padding_order_and_batching_change_nothing(shift: bool, conditioned: bool) -> None:
    """To 1e-5. Catches positions, neighbours and masks that see padding, and a count of tokens that includes it."""
    loss = MdlmLoss(model(neighbour_shift=shift, time_conditioning=conditioned), TOKENIZER, NOISE)
    # The longest text and the longest prompt fill their blocks.
    whole = loss.loss_fn(MdlmCollator(TOKENIZER, 11)(texts(16)))
    assert whole["num_tokens"] == sum(len(example["token_ids"]) + 1 for example in texts(16))
    for batch in (MdlmCollator(TOKENIZER, 19)(texts(16)), MdlmCollator(TOKENIZER, 11)(texts(16)[::-1])):
        assert torch.isclose(loss.loss_fn(batch)["loss"], whole["loss"], atol=1e-5)
    rows = [loss.loss_fn(MdlmCollator(TOKENIZER, 11)([example])) for example in texts(16)]
    nelbo = sum(row["loss"] * row["num_tokens"] for row in rows)
    assert torch.isclose(nelbo / whole["num_tokens"], whole["loss"], atol=1e-5)
    prompted = loss.loss_fn(MdlmSeq2SeqCollator(TOKENIZER, 4, 9)(answers(16)))
    assert prompted["num_tokens"] == 16 * 8
    longer = loss.loss_fn(MdlmSeq2SeqCollator(TOKENIZER, 11, 9)(answers(16)))
    assert torch.isclose(longer["loss"], prompted["loss"], atol=1e-5)


def test_only_the_answers_block_diffuses() -> None:
    """Catches a mask in the prompt, and an answer's padding that is left out."""
    network = Recorder().train()
    torch.manual_seed(0)
    MdlmLoss(network, TOKENIZER, NOISE).loss_fn(MdlmSeq2SeqCollator(TOKENIZER, 6, 9)(answers(500)))
    masked = network.input_ids == TOKENIZER.mask_token_id
    assert not masked[:, :7].any()
    assert masked[:, 7:].float().mean(0).min() > 0.4


def test_gradients_are_finite_at_the_smallest_time() -> None:
    """Catches an infinite logit, or weight, that turns the gradient into NaN."""
    network = model(time_conditioning=True).train()
    loss = MdlmLoss(network, TOKENIZER, NOISE)
    loss.nelbo(MdlmCollator(TOKENIZER, 12)(texts(4)), torch.zeros(4), torch.zeros(4, 11)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_time_conditioning_reaches_the_logits() -> None:
    """At first it has no effect (its maps start at zero); once trained it has. Without it, σ has none."""
    ids = torch.randint(7, V, (2, 5))
    sigmas = torch.tensor([0.1, 0.1]), torch.tensor([3.0, 3.0])
    plain = model()
    assert torch.equal(plain(ids, sigma=sigmas[0]), plain(ids, sigma=sigmas[1]))
    told = model(time_conditioning=True)
    for parameter in told.parameters():
        nn.init.normal_(parameter, std=0.1)
    assert not torch.allclose(told(ids, sigma=sigmas[0]), told(ids, sigma=sigmas[1]))
    with pytest.raises(ConfigError, match="sigma"):
        told(ids)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="eval_times is 0"):
        MdlmLoss(model(), TOKENIZER, NOISE, eval_times=0)
    with pytest.raises(ConfigError, match="noise_schedule=log_linear"):
        MdlmLoss(model(), TOKENIZER)
