"""Evaluators against what is counted by hand, and another model's perplexity against that model, text by text."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_causal_lm import make_causal_lm

from xlm_runtime.errors import ConfigError, DataError
from xlm_runtime.evaluators import GenerativePerplexity, Mauve, diversity, length
from xlm_runtime.report.intervals import Estimate


def plain(values: dict[str, float | Estimate]) -> dict[str, float]:
    return {name: value.value if isinstance(value, Estimate) else value for name, value in values.items()}


def test_diversity_by_hand() -> None:
    rows = [{"text": "a a b", "ids": [1, 1, 2]}, {"text": "a a b", "ids": [1, 1, 2]}, {"text": "c", "ids": [3]}]
    assert plain(diversity(rows)) == {
        "distinct_1": 3 / 7,
        "distinct_2": 2 / 4,
        "distinct_3": 1 / 2,
        "unique": 2 / 3,
        "entropy": pytest.approx(2 * (2 / 3 * math.log(3 / 2) + 1 / 3 * math.log(3)) / 3),
    }


def test_words_stand_for_ids_that_are_not_there() -> None:
    rows = [{"text": "to be or"}, {"text": "not to be"}]
    found = plain(diversity(rows))
    assert (found["distinct_1"], found["distinct_2"], found["unique"]) == (4 / 6, 3 / 4, 1.0)
    assert plain(length(rows)) == {"mean": 3.0, "min": 3, "max": 3}


def test_lengths_and_their_interval() -> None:
    rows = [{"text": "", "ids": list(range(n))} for n in (0, 3, 9)]
    assert plain(length(rows)) == {"mean": 4.0, "min": 0, "max": 9}
    mean = length(rows)["mean"]
    assert isinstance(mean, Estimate) and mean.low < 4 < mean.high


def test_rows_without_text_have_neither() -> None:
    assert length([{"score": 1}]) == diversity([{"score": 1}]) == {}
    assert plain(diversity([{"text": ""}])) == {"unique": 1.0}


@pytest.fixture(scope="module", params=[True, False], ids=["with BOS", "without BOS"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    return make_causal_lm(tmp_path_factory.mktemp("lm") / "lm", bos=request.param), request.param


TEXTS = ["the cat sat", "a", "", "on the mat and went away again", "no."]


def test_generative_perplexity_is_that_of_each_text_alone(model: tuple[Path, bool]) -> None:
    directory, bos = model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network, tokenizer = (
        AutoModelForCausalLM.from_pretrained(directory).eval(),
        AutoTokenizer.from_pretrained(directory),
    )
    nats, tokens, unscored = 0.0, 0, 0
    for text in TEXTS:
        ids = [*([0] if bos else []), *tokenizer(text)["input_ids"]][:16]  # as many as it has positions
        unscored += len(ids) < 2
        with torch.no_grad():
            log_p = network(torch.tensor([ids or [0]])).logits[0].log_softmax(-1)
        for place in range(1, len(ids)):
            nats -= float(log_p[place - 1, ids[place]])
            tokens += 1
    for batch_size in (1, 3, 8):
        found = GenerativePerplexity(str(directory), batch_size=batch_size)([{"text": text} for text in TEXTS])
        assert plain(found) == {
            "perplexity": pytest.approx(math.exp(nats / tokens), rel=1e-5),
            "tokens": tokens,
            "cut": 1,
            "unscored": unscored,
        }
        estimate = found["perplexity"]
        assert isinstance(estimate, Estimate)
        assert estimate.low < estimate.value < estimate.high and estimate.count == len(TEXTS) - unscored


def test_fewer_tokens_can_be_asked_for(model: tuple[Path, bool], capfd: pytest.CaptureFixture[str]) -> None:
    directory, bos = model
    found = GenerativePerplexity(str(directory), max_length=4)([{"text": "the cat"}, {"text": "on"}])
    assert (found["cut"], found["tokens"]) == (1, 3 + (2 if bos else 1))
    assert "Loading" not in "".join(capfd.readouterr())  # no bar of transformers'


def test_rows_that_say_nothing_are_refused(model: tuple[Path, bool]) -> None:
    with pytest.raises(DataError, match=r"2 rows, and none has a text .* Expected rows with a key 'text'"):
        GenerativePerplexity(str(model[0]))([{"text": ""}, {"score": 1}])


def test_a_model_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"cannot be loaded from the directory .*empty.*\nExpected a directory"):
        GenerativePerplexity(str(tmp_path / "empty"))
    for place in (str(tmp_path / "none"), "./none", "../a/b"):
        with pytest.raises(ConfigError, match=r"there is no such directory\. Expected a directory"):
            GenerativePerplexity(place)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"nobody/such.*cannot be loaded from the hub.*\n.*HF_HUB_OFFLINE"):
        GenerativePerplexity("nobody/such")


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("max_length", 1), ("max_length", "long")])
def test_options_out_of_their_range(tmp_path: Path, option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"GenerativePerplexity.model.{option} is {value!r}"):
        GenerativePerplexity(str(tmp_path), **{option: value})  # type: ignore[arg-type]


def test_weights_that_would_be_unpickled_are_refused(tmp_path: Path) -> None:
    directory = make_causal_lm(tmp_path / "lm")
    (directory / "model.safetensors").unlink()
    torch.save({}, directory / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"AutoModelForCausalLM cannot be loaded .*safetensors"):
        GenerativePerplexity(str(directory))([{"text": "the cat"}])


def test_mauve_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mauve", None)
    with pytest.raises(ConfigError, match=r'needs the package mauve-text.*pip install "xlm-runtime\[mauve\]"'):
        Mauve(str(tmp_path))


def test_they_can_be_named_without_torch() -> None:
    script = "import sys, xlm_runtime.evaluators as e; print(e.length([{'ids': [1]}])['min'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1 False\n"
