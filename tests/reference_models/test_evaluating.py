"""What eval says of the reference models: the same as generate's rows, what its numbers are, and likelihoods."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from xlm_runtime import Likelihood, load
from xlm_runtime.api import LoadedModel
from xlm_runtime.cli import main
from xlm_runtime.errors import ConfigError, DataError
from xlm_runtime.lm_eval.requests import Requests
from xlm_runtime.predictions import read_rows

MODELS = ("arlm", "mlm", "ilm", "mdlm")
SMALL = (
    *("model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=64", "batch_size=16"),
    *("datamodule.limit=96", "optimizer.lr=0.03", "trainer.max_steps=40", "trainer.limit_val_batches=0"),
)
#: Three letters a text, one of them missing: after some steps, what is put in its place is right now and then.
LETTERS = ("dataset.block_size=5",)
ONE_MISSING = {
    "arlm": ("datamodule.collators.prediction.prompt_tokens=2", "predictor.max_new_tokens=2"),
    "mlm": ("datamodule.collators.prediction.infill_fraction=0.01",),
    "ilm": ("datamodule.collators.prediction.infill_fraction=0.01", "predictor.max_new_tokens=1"),
    "mdlm": ("datamodule.collators.prediction.infill_fraction=0.01", "predictor.temperature=0.0"),
}
#: No network has a longest text: in a larger block there is room for what follows.
ROOM: dict[str, Any] = {"dataset.block_size": 32}
MEANS = {
    "arlm": {"loss": "nats per token, exact", "perplexity": "exact"},
    "mdlm": {
        "loss": "nats per token, a bound from above: the NELBO",
        "perplexity": "a bound from above, by the NELBO",
    },
    "mlm": {"loss": "nats per masked token; no bound of a likelihood"},
    "ilm": {"loss": "nats per example; no bound of a likelihood"},
}

Xlm = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a run of each model on text."""
    directory = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv("XLM_CACHE_DIR", str(directory / "cache"))
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        for model in MODELS:
            words = (f"run_dir=runs/{model}", *SMALL, *LETTERS, *ONE_MISSING[model])
            main(["job_type=train", f"experiment=pydoc_{model}", *words])
    return directory / "runs"


@pytest.mark.parametrize("model", MODELS)
def test_exact_match_is_what_one_counts_in_what_generate_writes(xlm: Xlm, runs: Path, model: str) -> None:
    code, out, err = xlm("job_type=eval", f"run_dir={runs / model}", "eval_batch_size=32")
    assert code == 0, err
    code, _, err = xlm("job_type=generate", f"run_dir={runs / model}", "eval_batch_size=7", "show=0")
    assert code == 0, err
    rows = read_rows(runs / model / "predictions/test/step=40.generated.jsonl")
    right = [row["text"] == row["truth"] for row in rows]
    entry = json.loads((runs / model / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert len(rows) == entry["rows"] == 96 and all(row["truth"] is not None for row in rows)
    assert 0 < sum(right) < 96  # else this would say nothing
    assert entry["metrics"]["exact_match"]["value"] == pytest.approx(sum(right) / 96)
    assert read_rows(runs / model / entry["predictions"])[0]["text"] == rows[0]["text"]
    for name, means in MEANS[model].items():
        assert entry["metrics"][name]["means"] == means and f"({means})" in out
    assert "perplexity" in entry["metrics"] or "perplexity" not in MEANS[model]


@pytest.fixture(scope="module")
def arlm(runs: Path) -> LoadedModel:
    return load(runs / "arlm", **ROOM)


@pytest.fixture(scope="module")
def mdlm(runs: Path) -> LoadedModel:
    return load(runs / "mdlm", **ROOM, **{"loss.eval_times": 50})


def ids(model: LoadedModel, text: str) -> list[int]:
    return list(model.tokenizer.encode(text, add_special_tokens=False))


def test_arlm_gives_log_p_of_each_text_alone(arlm: LoadedModel) -> None:
    pairs = [("The import", " state"), ("", "A"), ("A class is", " a")]
    found = Requests(arlm, 2, "cpu").log_likelihoods([(ids(arlm, a), ids(arlm, b)) for a, b in pairs])
    for (context, text), (value, greedy) in zip(pairs, found, strict=True):
        whole = torch.tensor([[arlm.tokenizer.bos_token_id, *ids(arlm, context), *ids(arlm, text)]])
        with torch.no_grad():
            logits = arlm.model(whole)[0, -len(ids(arlm, text)) - 1 : -1]
        target = whole[0, -len(ids(arlm, text)) :]
        expected = logits.log_softmax(-1).gather(1, target[:, None]).sum()
        assert value == pytest.approx(float(expected), rel=1e-4)
        assert greedy == bool((logits.argmax(-1) == target).all())


def test_arlms_probabilities_of_all_continuations_sum_to_one(arlm: LoadedModel) -> None:
    requests = Requests(arlm, 64, "cpu")
    found = requests.log_likelihoods([(ids(arlm, "The"), [token]) for token in range(len(arlm.tokenizer))])
    assert sum(torch.tensor(value).exp().item() for value, _ in found) == pytest.approx(1.0, abs=1e-4)
    assert sum(greedy for _, greedy in found) == 1


def test_mdlms_bound_of_one_token_is_its_weighted_log_p_where_it_is_masked(mdlm: LoadedModel) -> None:
    bos, mask, token = mdlm.tokenizer.bos_token_id, mdlm.tokenizer.mask_token_id, ids(mdlm, "e")
    loss: Any = mdlm.harness.loss
    assert isinstance(loss, Likelihood) and not loss.exact
    value, greedy = loss.log_likelihood([[bos, *ids(mdlm, "th")]], [token])
    draws = list(loss._grid(torch.zeros(1, dtype=torch.long), 1))
    times = torch.cat([place for place, _ in draws]) * 0.999 + 0.001
    masked = torch.cat([uniforms for _, uniforms in draws])[:, 0] < times
    places = torch.tensor([[bos, *ids(mdlm, "th"), mask]]).expand(len(draws), -1)
    with torch.no_grad():
        sigma = loss.noise_schedule.sigma(times)
        logits = mdlm.model(places, torch.ones_like(places, dtype=torch.bool), sigma=sigma)[:, -1]
    logits[:, mask] = -torch.inf
    expected = (masked / times * logits.log_softmax(-1)[:, token[0]]).mean()  # w(t) = 1 / t
    assert value.item() == pytest.approx(float(expected), rel=1e-3) and value.item() < 0
    assert not greedy.any()


def test_mdlms_bound_does_not_depend_on_the_batch(runs: Path) -> None:
    model = load(runs / "mdlm", **ROOM)
    pairs = [(ids(model, a), ids(model, b)) for a, b in (("The", " cat"), ("", "A class"), ("one two", " x"))]
    alone = [Requests(model, 1, "cpu").log_likelihoods([pair])[0] for pair in pairs]
    assert [v for v, _ in Requests(model, 3, "cpu").log_likelihoods(pairs)] == pytest.approx(
        [v for v, _ in alone], rel=1e-4
    )
    assert all(value < 0 for value, _ in alone)


@pytest.mark.parametrize("model", ["mlm", "ilm"])
def test_a_model_without_a_likelihood_says_so(runs: Path, model: str) -> None:
    with pytest.raises(ConfigError, match=r"gives neither a likelihood nor a bound of one.*arlm and mdlm"):
        Requests(load(runs / model), 1, "cpu").log_likelihoods([([5], [6])])


def test_a_long_context_loses_its_beginning_and_a_long_continuation_is_refused(arlm: LoadedModel) -> None:
    requests = Requests(arlm, 1, "cpu")
    assert requests.room == 30
    long = ids(arlm, "word " * 20)
    kept = requests.log_likelihoods([(long, ids(arlm, "ab")), (long[-28:], ids(arlm, "ab"))])
    assert kept[0] == kept[1] != requests.log_likelihoods([(long[-27:], ids(arlm, "ab"))])[0]
    with pytest.raises(DataError, match="has 31 tokens; the model takes between 1 and 30"):
        requests.log_likelihoods([([], ids(arlm, "x" * 31))])


@pytest.mark.parametrize("model", MODELS)
def test_every_model_continues_a_text_up_to_a_stop_word(runs: Path, model: str) -> None:
    loaded = load(runs / model, **ROOM)
    requests = Requests(loaded, 2, "cpu")
    contexts, options = ["The import", "A class " * 10], {"max_gen_toks": 6, "do_sample": True, "temperature": 1.0}
    whole = requests.continuations(contexts, [], **options)
    assert len(whole) == 2 and all(len(text) <= 8 for text in whole) and any(whole)
    letter = next(text for text in whole if text)[0]
    cut = requests.continuations(contexts, [letter, "\n"], **options)
    assert cut == [text.split(letter)[0].split("\n")[0] for text in whole]


def test_star_models_score_answers_where_answers_stand(xlm: Xlm, tmp_path: Path) -> None:
    words = (*SMALL[:4], "dataset.sizes={train: 4, val: 4, test: 4}", "batch_size=4", "trainer.max_steps=1")
    assert xlm("job_type=train", "experiment=star_easy_arlm", f"run_dir={tmp_path}/star", *words)[0] == 0
    model = load(tmp_path / "star")
    requests = Requests(model, 4, "cpu")
    ((value, _),) = requests.log_likelihoods([(ids(model, "1 2 2 3"), ids(model, "1 2"))])
    whole = torch.tensor([[*ids(model, "1 2 2 3"), model.tokenizer.bos_token_id, *ids(model, "1 2")]])
    with torch.no_grad():
        log_p = model.model(whole)[0].log_softmax(-1)
    assert value == pytest.approx(sum(float(log_p[-3 + n, whole[0, -2 + n]]) for n in range(2)), rel=1e-4)
    with pytest.raises(DataError, match="not in the model's vocabulary"):
        requests.encode("cat")


def test_the_loss_of_an_evaluation_is_that_of_its_texts(arlm: LoadedModel) -> None:
    # What log_likelihood sums over a text and its EOS is the loss of a batch that holds it.
    texts = ["The cat", "on the mat"]
    eos, bos = arlm.tokenizer.eos_token_id, arlm.tokenizer.bos_token_id
    loss: Any = arlm.harness.loss
    rows = [[*ids(arlm, text), eos] for text in texts]
    value, _ = loss.log_likelihood([[bos]] * 2, rows)
    collator = arlm._saved.parts.datamodule.collators["lm"]  # type: ignore[index]
    batch = collator([{"token_ids": row[:-1], "index": n} for n, row in enumerate(rows)])
    with torch.no_grad():
        expected = loss.loss_fn(batch)
    assert -value.sum().item() == pytest.approx(float(expected["loss"] * expected["num_tokens"]), rel=1e-5)
    assert expected["num_tokens"] == len(list(itertools.chain(*rows)))
