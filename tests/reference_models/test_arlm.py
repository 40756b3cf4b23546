"""ARLM: what its logits, its loss and its predictions may and may not depend on."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from arlm.datamodule_arlm import ArlmCollator, ArlmSeq2SeqCollator, ArlmSeq2SeqCollatorPrediction
from arlm.loss_arlm import ArlmLoss
from arlm.metrics_arlm import exact_match, token_accuracy
from arlm.model_arlm import ArlmModel
from arlm.predictor_arlm import ArlmPredictor
from torch import Tensor, nn

from xlm_runtime.build import build_parts, build_trainer
from xlm_runtime.config import compose
from xlm_runtime.errors import ConfigError, DataError
from xlm_runtime.tokenizers import number_tokenizer

TOKENIZER = number_tokenizer(20)
V, PAD, BOS, EOS = len(TOKENIZER), TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id
SPECIAL = [i for i in TOKENIZER.all_special_ids if i != EOS]
WORDS = sorted(set(range(V)) - {*SPECIAL, EOS})
ANSWER, NEW = 14, 16


class Watched(ArlmModel):
    """Adds ``bias`` (V,) to its logits, and keeps in ``calls`` how many rows and columns each call had."""

    def __init__(self, bias: Tensor, **options: Any) -> None:
        super().__init__(V, PAD, d_model=32, num_layers=2, num_heads=2, d_ff=64, embedding_std=1.0, **options)
        self.bias = bias
        self.calls: list[tuple[int, int]] = []

    def forward(self, input_ids: Tensor, *args: Any, **options: Any) -> Tensor:
        self.calls.append(tuple(input_ids.shape))
        return super().forward(input_ids, *args, **options) + self.bias


def watched(eos: float = 0.0, special: float = 0.0, seed: int = 0, **options: Any) -> Watched:
    """An untrained model whose logits of EOS and of the other special tokens are moved."""
    torch.manual_seed(seed)
    bias = torch.zeros(V)
    bias[EOS], bias[SPECIAL] = eos, special
    model = Watched(bias, **options).eval()
    with torch.no_grad():  # what comes before a token is to matter: fresh weights hardly look at it
        model.head.weight.mul_(10)
        for weight in (w for name, w in model.named_parameters() if w.ndim > 1 and name.startswith(("t", "s"))):
            weight.mul_(15)
    return model


def examples(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Prompts of 1 to 20 and answers of 1 to 12 tokens."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(longest: int) -> list[int]:
        length = int(torch.randint(1, longest + 1, (), generator=generator))
        return [WORDS[i] for i in torch.randint(len(WORDS), (length,), generator=generator).tolist()]

    return [{"index": i, "prompt_ids": tokens(20), "token_ids": tokens(12)} for i in range(count)]


EXAMPLES = examples(16)
PROMPT = max(len(example["prompt_ids"]) for example in EXAMPLES)  # one row, at least, has no padding


def prompts(rows: list[dict[str, Any]], length: int = PROMPT) -> Any:
    return ArlmSeq2SeqCollatorPrediction(TOKENIZER, length, ANSWER)(rows)


def generate(model: nn.Module, rows: list[dict[str, Any]] = EXAMPLES, **options: Any) -> Tensor:
    return ArlmPredictor(model, TOKENIZER, **({"max_new_tokens": NEW} | options)).predict(prompts(rows))["ids"]


def lengths(ids: Tensor) -> list[int]:
    """Tokens of each row, EOS included."""
    return (ids != PAD).sum(-1).tolist()


SAMPLED = {"temperature": 0.8, "top_k": 12, "top_p": 0.95, "seed": 3}
ENDING = 1.5  # with it, rows of the untrained model end at many different steps


# -- the model ---------------------------------------------------------------------------------------------


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


# -- generation: the cache ---------------------------------------------------------------------------------


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "full"])
@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_with_a_cache_the_tokens_are_those_without(model: Watched, sampling: dict[str, Any], padded: bool) -> None:
    model.bias[EOS] = ENDING
    full = [{**example, "prompt_ids": (example["prompt_ids"] * PROMPT)[:PROMPT]} for example in EXAMPLES]
    rows = EXAMPLES if padded else full
    cached = generate(model, rows, **sampling)
    assert len(set(lengths(cached))) >= 4  # rows end at different steps
    assert torch.equal(cached, generate(model, rows, use_cache=False, **sampling))


def test_greedy_tokens_are_the_likeliest_of_each_step() -> None:
    net = watched(eos=ENDING)
    net.bias[SPECIAL] = -torch.inf
    for example, ids in zip(EXAMPLES, generate(net).tolist(), strict=True):
        row = [*example["prompt_ids"], BOS]
        for token in ids[: ids.index(EOS) + 1 if EOS in ids else NEW]:
            assert token == net(torch.tensor([row]))[0, -1].argmax().item()
            row.append(token)


@pytest.mark.parametrize("use_cache", [True, False])
def test_rows_that_have_ended_leave_the_batch_and_the_last_one_ends_the_loop(use_cache: bool) -> None:
    net = watched(eos=ENDING)
    steps = lengths(generate(net, use_cache=use_cache))
    going = [sum(length > step for length in steps) for step in range(max(steps))]
    assert len(set(going)) >= 4
    assert [rows for rows, _ in net.calls] == going
    columns = [PROMPT + 1, *([1] * (max(steps) - 1) if use_cache else range(PROMPT + 2, PROMPT + 1 + max(steps)))]
    assert [count for _, count in net.calls] == columns


def test_if_every_row_ends_at_once_the_network_runs_once() -> None:
    net = watched(eos=1e6)
    ids = generate(net)
    assert ids.tolist() == [[EOS] + [PAD] * (NEW - 1)] * len(EXAMPLES)
    assert len(net.calls) == 1


def test_if_no_row_ends_the_network_runs_as_often_as_there_are_tokens() -> None:
    net = watched(eos=-1e6)
    ids = generate(net, max_new_tokens=5)
    assert ids.shape == (len(EXAMPLES), 5)
    assert PAD not in ids and EOS not in ids
    assert len(net.calls) == 5


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_after_eos_there_is_padding_and_before_it_no_special_token(sampling: dict[str, Any]) -> None:
    ids = generate(watched(eos=ENDING, special=20.0), **sampling)  # they would be by far the likeliest
    for row in ids.tolist():
        end = row.index(EOS) + 1 if EOS in row else NEW
        assert set(row[: end - 1]) <= set(WORDS)
        assert set(row[end:]) <= {PAD}


# -- generation: the draws ---------------------------------------------------------------------------------


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_rows_tokens_do_not_depend_on_its_batch(use_cache: bool) -> None:
    net = watched(eos=ENDING)
    together = generate(net, use_cache=use_cache, **SAMPLED)
    assert len({tuple(row) for row in together.tolist()}) >= 10
    order = torch.randperm(len(EXAMPLES), generator=torch.Generator().manual_seed(0)).tolist()
    permuted = generate(net, [EXAMPLES[i] for i in order], use_cache=use_cache, **SAMPLED)
    assert torch.equal(permuted, together[order])
    for chosen in ([3], [0, 7, 11]):
        some = generate(net, [EXAMPLES[i] for i in chosen], use_cache=use_cache, **SAMPLED)
        assert torch.equal(some, together[chosen])


def test_the_seed_and_the_index_choose_the_draws() -> None:
    net = watched()
    same = [{**EXAMPLES[0], "index": index} for index in (0, 1, 2, 0)]
    ids = generate(net, same, **SAMPLED).tolist()
    assert ids[0] == ids[3]
    assert len({tuple(row) for row in ids}) == 3
    assert generate(net, same, **{**SAMPLED, "seed": 4}).tolist() != ids


def test_drawing_leaves_the_global_generator_alone() -> None:
    net = watched()
    before = torch.get_rng_state()
    generate(net, **SAMPLED)
    assert torch.equal(torch.get_rng_state(), before)


def chi_square(counts: Tensor, probabilities: Tensor) -> float:
    """(X^2 - df) / sqrt(2 df): about standard normal if the counts are those of the probabilities."""
    expected = probabilities * counts.sum()
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    assert expected[possible].min() > 5  # else the approximation is none
    degrees = int(possible.sum()) - 1
    return float((((counts - expected) ** 2)[possible] / expected[possible]).sum() - degrees) / (2 * degrees) ** 0.5


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [{"temperature": 1.0}, {"temperature": 0.5}, {"temperature": 1.5, "top_k": 4}, {"temperature": 1.0, "top_p": 0.8}],
    ids=["plain", "cooler", "top_k", "top_p"],
)
def test_first_tokens_are_drawn_from_the_models_distribution(options: dict[str, Any]) -> None:
    """Catches a temperature that multiplies, special tokens that are drawn, top-p without the token that crosses p."""
    net = watched(eos=2.0, special=5.0)
    net.head.weight /= 3  # nearer to uniform, so that no token is too rare to be counted
    row = {"prompt_ids": WORDS[3:5]}
    logits = net(torch.tensor([[*row["prompt_ids"], BOS]]))[0, -1].double()
    logits[SPECIAL] = -torch.inf
    p = (logits / options["temperature"]).softmax(-1)
    if k := options.get("top_k"):
        p[p < p.sort().values[-k]] = 0
    if (mass := options.get("top_p")) is not None:
        ordered, tokens = p.sort(descending=True)
        p[tokens[ordered.cumsum(0) - ordered >= mass]] = 0
    p /= p.sum()
    batch = prompts([{**row, "index": i} for i in range(20_000)], length=2)
    predictor = ArlmPredictor(net, TOKENIZER, max_new_tokens=1, use_cache=False, seed=11, **options)
    drawn = predictor.predict(batch)["ids"][:, 0]
    assert abs(chi_square(torch.bincount(drawn, minlength=V).double(), p)) < 4


class Fair(nn.Module):
    """Two words, equally likely, whatever came before."""

    def forward(self, input_ids: Tensor, *args: Any, **options: Any) -> Tensor:
        logits = torch.full((len(input_ids), 1, V), -torch.inf)
        logits[..., WORDS[:2]] = 0.0
        return logits


def test_the_draws_of_different_steps_and_rows_are_independent() -> None:
    """Catches uniforms that do not depend on the step, or not on the row."""
    rows = [{**EXAMPLES[0], "index": i} for i in range(20_000)]
    ids = generate(Fair(), rows, max_new_tokens=3, use_cache=False, temperature=1.0, seed=5) - WORDS[0]
    quarter = torch.full((4,), 0.25, dtype=torch.float64)
    for first, second in itertools.combinations((ids[:, 0], ids[:, 1], ids[:, 2], ids[:, 0].roll(1)), 2):
        assert abs(chi_square(torch.bincount(2 * first + second, minlength=4).double(), quarter)) < 4


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_k": 2.5},
        {"top_p": 0.0},
        {"top_p": 1.5},
    ],
    ids=str,
)
def test_an_option_out_of_its_range_is_an_error_that_names_it(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        ArlmPredictor(watched(), TOKENIZER, **options)


def test_predicting_leaves_its_batch_alone_and_makes_no_gradient() -> None:
    batch = prompts(EXAMPLES)
    before = copy.deepcopy(batch)
    ids = ArlmPredictor(watched(eos=ENDING), TOKENIZER, max_new_tokens=NEW).predict(batch)["ids"]
    assert not ids.requires_grad and ids.dtype == torch.int64
    assert batch.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in batch.items())


# -- rows and metrics --------------------------------------------------------------------------------------


def test_rows_say_prompt_prediction_and_truth_in_words() -> None:
    a, b, c = TOKENIZER.convert_tokens_to_ids(["3", "14", "7"])
    known = {"index": 0, "prompt_ids": [a, b], "token_ids": [c, a]}
    batch = prompts([known, {"index": 1, "prompt_ids": [c]}])
    ids = torch.tensor([[c, b, EOS, PAD], [a, a, a, a]])
    predictor = ArlmPredictor(watched(), TOKENIZER, max_new_tokens=4)
    assert predictor.to_dict(batch, {"ids": ids}) == [
        {"prompt": "3 14", "text": "7 14", "truth": "7 3", "ids": [c, b, EOS], "network_calls": 3},
        {"prompt": "7", "text": "3 3 3 3", "truth": None, "ids": [a, a, a, a], "network_calls": 4},
    ]


def test_metrics_count_an_answer_to_its_end() -> None:
    a, b, c = WORDS[:3]
    batch = prompts([{"index": i, "prompt_ids": [a], "token_ids": [a, b]} for i in range(6)])  # truth: a b EOS
    ids = torch.tensor(
        [
            [a, b, EOS, PAD],
            [a, b, c, EOS],  # goes on
            [a, EOS, PAD, PAD],  # ends too early
            [c, b, EOS, PAD],
            [a, b, EOS, c],  # something after the end
            [EOS, PAD, PAD, PAD],
        ]
    )
    for width in (4, 20):  # narrower and wider than the answer block
        preds = {"ids": nn.functional.pad(ids, (0, width - 4), value=PAD)}
        assert exact_match(batch, preds)["value"].tolist() == [1, 0, 0, 0, 0, 0]
        accuracy = token_accuracy(batch, preds)
        assert accuracy["value"].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 2 / 3, 1, 0])
        assert accuracy["weight"].tolist() == [3] * 6


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, float]]:
    """The validation metrics of one untrained model, for three batch sizes."""
    cache, found = tmp_path_factory.mktemp("cache"), {}
    for size in (3, 8, 10):
        cfg = compose(
            [
                "experiment=star_medium_arlm",  # prompts and answers of different lengths
                *("model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=64"),
                "dataset.sizes={train: 8, val: 10, test: 8}",
                f"eval_batch_size={size}",
                "trainer.accelerator=cpu",
                f"cache_dir={cache}",
            ]
        )
        pl.seed_everything(0, verbose=False)
        parts = build_parts(cfg)
        with torch.no_grad():
            parts.harness.model.head.weight.mul_(50)
        trainer = build_trainer(cfg, logger=False, callbacks=[], enable_checkpointing=False)
        trainer.validate(parts.harness, datamodule=parts.datamodule, verbose=False)
        found[size] = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return found


@pytest.mark.parametrize("size", [3, 8])
def test_validation_metrics_do_not_depend_on_the_batch_size(validated: dict[int, dict[str, float]], size: int) -> None:
    assert validated[size] == pytest.approx(validated[10], rel=1e-5)
    assert set(validated[size]) == {"val/loss", "val/perplexity", "val/exact_match", "val/token_accuracy"}


def test_perplexity_is_the_exponential_of_the_loss(validated: dict[int, dict[str, float]]) -> None:
    for metrics in validated.values():
        assert metrics["val/perplexity"] == pytest.approx(torch.tensor(metrics["val/loss"]).exp().item(), rel=1e-5)


def test_the_predictor_of_the_configuration_takes_its_options_from_it(tmp_path: Path) -> None:
    cfg = compose(
        [
            "experiment=star_easy_arlm",
            "dataset.sizes={train: 2, val: 2, test: 2}",
            "predictor.temperature=0.7",
            "predictor.top_k=5",
            "seed=9",
            f"cache_dir={tmp_path}",
        ]
    )
    predictor = build_parts(cfg).harness.predictor
    assert (predictor.sampling.temperature, predictor.sampling.top_k, predictor.seed) == (0.7, 5, 9)
    assert predictor.max_new_tokens == cfg.dataset.answer_length


def test_the_exact_match_does_not_depend_on_the_padding_token() -> None:
    """Catches a shorter prediction that is filled up with zeros where PAD is another id."""
    batch = {"target_ids": torch.tensor([[5, 3, 50, 50], [5, 6, 3, 50]])}
    batch["target_mask"] = batch["target_ids"] != 50
    preds = {"ids": torch.tensor([[5, 3], [5, 6]])}
    assert exact_match(batch, preds)["value"].tolist() == [1, 0]
    assert token_accuracy(batch, preds)["value"].tolist() == pytest.approx([1, 2 / 3])
