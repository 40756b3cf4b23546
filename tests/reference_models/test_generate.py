"""Prompts, blanks and texts from nothing, of each model: by the command line and from Python."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from trained_runs import MODELS, STAR, TEXT, Xlm

from xlm_runtime import load
from xlm_runtime.errors import ConfigError, DataError, UnknownKeyError, XlmError
from xlm_runtime.predictions import read_rows

INFILLING = ("mlm", "ilm", "mdlm")
GIVEN = {model: ["The <mask> sat", "on <mask:5>the <mask:2>.", "<mask:7>"] for model in INFILLING}
GIVEN["arlm"] = ["The cat sat", "on", "the mat and"]


@pytest.mark.parametrize("model", MODELS)
def test_the_same_seed_gives_the_same_text_whatever_the_batch_size(runs: Path, model: str) -> None:
    loaded = load(runs / f"text_{model}")
    options: dict[str, Any] = {"temperature": 1.0, "seed": 3}
    texts = [[row["ids"] for row in loaded.generate(GIVEN[model], batch_size=n, **options)] for n in (1, 2, 3)]
    assert texts[0] == texts[1] == texts[2]
    assert texts[0] != [row["ids"] for row in loaded.generate(GIVEN[model], temperature=1.0, seed=4)]
    alone = loaded.generate(GIVEN[model][:1], **options)
    assert alone[0]["ids"] == texts[0][0]


@pytest.mark.parametrize("model", MODELS)
def test_rows_say_what_was_given_and_what_it_took(runs: Path, model: str) -> None:
    rows = load(runs / f"text_{model}", eval_batch_size=2).generate(GIVEN[model], seed=5)
    assert [row["prompt"] for row in rows] == GIVEN[model]
    for row in rows:
        assert row["truth"] is None and row["seed"] == 5 and row["seconds"] > 0
        assert row["length"] == len(row["ids"]) and isinstance(row["text"], str)
        assert row["steps"] == row["network_calls"] >= 1


@pytest.mark.parametrize("model", INFILLING)
def test_blanks_are_filled_and_what_is_given_is_kept(runs: Path, model: str) -> None:
    loaded = load(runs / f"text_{model}")
    ids = loaded.tokenizer.encode
    (row,) = loaded.generate(["on <mask:5>the <mask:2>."], temperature=1.0)
    parts = [ids(text, add_special_tokens=False) for text in ("on ", "the ", ".")]
    written = [i for i in row["ids"] if i not in loaded.tokenizer.all_special_ids]
    if model == "ilm":  # how many are missing, it finds out itself
        rest = iter(written)
        assert all(token in rest for part in parts for token in part)
    else:
        assert len(written) == 3 + 5 + 4 + 2 + 1
        assert written[:3] == parts[0] and written[8:12] == parts[1] and written[14:] == parts[2]


@pytest.mark.parametrize("model", MODELS)
def test_texts_from_nothing(xlm: Xlm, runs: Path, tmp_path: Path, model: str) -> None:
    words = (f"run_dir={runs}/text_{model}", "unconditional=true", "num_samples=5", "predictor.temperature=1.0")
    file = runs / f"text_{model}" / "predictions" / "unconditional" / "step=1.generated.jsonl"
    texts = []
    for size in (2, 5):
        code, out, err = xlm("job_type=generate", *words, f"eval_batch_size={size}")
        assert code == 0, err
        assert "on unconditional" in out and "exact match" not in out
        rows = read_rows(file)
        assert all(row["prompt"] == "" and row["truth"] is None for row in rows)
        texts.append([row["ids"] for row in rows])
    assert len(texts[0]) == 5 and texts[0] == texts[1]
    assert len({tuple(ids) for ids in texts[0]}) > 1


@pytest.mark.parametrize("model", MODELS)
def test_star_models_answer_prompts(runs: Path, model: str) -> None:
    loaded = load(runs / f"star_{model}")
    rows = loaded.generate(["1 2 2 3", "4 5 5 6 6 7"])
    assert [row["prompt"] for row in rows] == ["1 2 2 3", "4 5 5 6 6 7"]
    assert rows[1]["ids"] == loaded.generate(["4 5 5 6 6 7"])[0]["ids"] or model == "mdlm"  # whose draws are by place
    with pytest.raises(DataError, match="Prompt 1: 'cat', '77' is not in the model's vocabulary of 27 tokens"):
        loaded.generate(["1 cat 77"])
    with pytest.raises(DataError, match=r"has 29 tokens.*takes at most 28"):
        loaded.generate(["1 " * 29])
    with pytest.raises(ConfigError, match=r"has a mask marker.*trained on prompts and answers") as refused:
        loaded.generate(["1 <mask>"])
    # To no collator, which would want a block that this checkpoint has none of; nor to an experiment that fills none.
    assert "collator@" not in str(refused.value)
    assert (f"a checkpoint trained on texts (experiment=pydoc_{model} or " in str(refused.value)) == (model != "arlm")
    with pytest.raises(ConfigError, match="answers prompts"):
        loaded.generate(num_samples=2)


def test_a_model_that_writes_from_left_to_right_refuses_markers(runs: Path) -> None:
    with pytest.raises(ConfigError, match=r"continues prompts.*Leave the markers out\.$"):
        load(runs / "text_arlm").generate(["The <mask> sat"])


def test_the_collator_that_fills_blanks_is_named_where_it_does(xlm: Xlm, runs: Path) -> None:
    words = ("job_type=generate", f"run_dir={runs}/text_mdlm", "prompts=['The <mask> sat']")
    place = "collator@datamodule.collators.prediction="
    code, _, err = xlm(*words, f"{place}prediction_mdlm")
    assert code == 2 and f"{place}infilling_prediction_mdlm." in err
    code, _, err = xlm(*words, f"{place}infilling_prediction_mdlm")
    assert code == 0, err


@pytest.mark.parametrize("model", MODELS)
def test_too_much_for_the_block_is_refused(runs: Path, model: str) -> None:
    loaded = load(runs / f"text_{model}")
    blank = "" if model == "arlm" else "<mask>"
    assert loaded.generate(["x" * (46 - len(blank) // 6) + blank])
    with pytest.raises(DataError, match=r"has 47 tokens.*at most 46"):
        loaded.generate(["x" * (47 - len(blank) // 6) + blank])


def test_options_hold_for_their_call(runs: Path) -> None:
    loaded = load(runs / "text_arlm")
    before = loaded.generate(["The cat"])
    assert loaded.generate(["The cat"], max_new_tokens=3)[0]["length"] <= 3
    after = loaded.generate(["The cat"])
    assert [row["ids"] for row in before] == [row["ids"] for row in after]
    with pytest.raises(UnknownKeyError, match="temprature"):
        loaded.generate(["The cat"], temprature=0.8)
    with pytest.raises(XlmError, match="temperature"):
        loaded.generate(["The cat"], temperature=-1)
    assert loaded.generate([]) == loaded.generate(num_samples=0) == []


def test_what_python_asks_for_wrongly_is_refused(runs: Path) -> None:
    loaded = load(runs / "text_arlm", eval_batch_size=2)
    assert [row["prompt"] for row in loaded.generate(("a", "b", "c"), num_samples=2)] == ["a", "b"]
    for prompts, words in (
        ([1], "number 1, is 1; expected text"),
        (7, "prompts is 7; expected a list"),
        ({"a": 1}, "prompts is {'a': 1}; expected a list"),
    ):
        with pytest.raises(ConfigError, match=words):
            loaded.generate(prompts)  # type: ignore[arg-type]
    for number in (-1, 1.5, "2", True):
        with pytest.raises(ConfigError, match=f"num_samples is {number!r}; expected a whole number"):
            loaded.generate(num_samples=number)  # type: ignore[arg-type]
    with pytest.raises(UnknownKeyError, match=r"has no key 'sead'.*Did you mean 'seed'"):
        load(runs / "text_arlm", sead=3)
    with pytest.raises(UnknownKeyError, match=r"has no key 'bogus'\. \n.*load\(\.\.\.\)\.cfg holds them all"):
        load(runs / "text_arlm", bogus=2)
    with pytest.raises(UnknownKeyError, match=r"has no key 'predictor\.temprature'"):
        load(runs / "text_arlm", **{"predictor.temprature": 3})


def test_a_file_of_prompts_is_continued(xlm: Xlm, runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(
        "".join(json.dumps({"prompt": text}) + "\n" for text in ("one", "two [b]", "three")), encoding="utf-8"
    )
    code, out, err = xlm(
        "job_type=generate", f"ckpt_path={runs}/text_arlm/checkpoints/last.ckpt", f"prompts_file={file}"
    )
    assert code == 0, err
    rows = read_rows(Path("runs/text_arlm/predictions/prompts/step=1.generated.jsonl"))
    assert [row["prompt"] for row in rows] == ["one", "two [b]", "three"] and "two [b]" in out


def test_a_run_of_an_older_runtime_takes_prompts_too(xlm: Xlm, runs: Path, tmp_path: Path) -> None:
    saved = runs / "text_arlm"
    content = yaml.safe_load((saved / "config.yaml").read_text(encoding="utf-8"))
    for key in ("prompts", "prompts_file", "unconditional", "export_dir", "format", "repo_id", "private", "license"):
        del content[key]
    old = tmp_path / "old"
    shutil.copytree(saved / "checkpoints", old / "checkpoints")
    (old / "config.yaml").write_text(yaml.safe_dump({**content, "run_dir": str(old)}), encoding="utf-8")
    code, _, err = xlm("job_type=generate", f"run_dir={old}", "prompts=['The cat']")
    assert code == 0, err
    assert (old / "predictions" / "prompts" / "step=1.generated.jsonl").is_file()


BAD = {
    "a malformed marker": (["prompts=['The <mask:x> sat']"], ["the marker '<mask:x>'", "<mask:3>"]),
    "two sources": (["prompts=['a']", "unconditional=true"], ["prompts and unconditional are given"]),
    "no number": (["unconditional=true"], ["num_samples=64"]),
    "no list": (["prompts=abc"], ["expected a list of texts"]),
    "no file": (["prompts_file=none.txt"], ["none.txt cannot be read"]),
    "an empty file": (["prompts_file=empty.txt"], ["empty.txt is empty"]),
    "a file of blank lines": (["prompts_file=blank.jsonl"], ["blank.jsonl is empty"]),
    "a directory": (["prompts_file=directory.txt"], ["directory.txt cannot be read"]),
    "no JSON": (["prompts_file=broken.jsonl"], ["broken.jsonl, line 2", "no JSON"]),
    "no UTF-8": (["prompts_file=latin.txt"], ["latin.txt is not UTF-8", "line 1"]),
    "no UTF-8 in JSON": (["prompts_file=latin.jsonl"], ["latin.jsonl is not UTF-8", "line 1"]),
    "half a character": (["prompts_file=half.jsonl"], ["half.jsonl, line 1", "character 2", "no text"]),
    "bytes of the shell": (["prompts=['caf\udce9']"], ["prompts, number 1", "character 4", "no text"]),
    "a word outside the vocabulary": (
        ["run_dir=RUNS/star_arlm", "prompts=['1 cat']"],
        ["Prompt 1", "'cat'", "27 tokens"],
    ),
    "a number outside the vocabulary": (["run_dir=RUNS/star_mdlm", "prompts=['1 2','1 77']"], ["Prompt 2", "'77'"]),
    "a marker that is not closed": (
        ["run_dir=RUNS/text_mlm", "prompts=['The <mask:3 sat']"],
        ["'<mask:3", "malformed"],
    ),
    "more blanks than room": (["run_dir=RUNS/text_ilm", "prompts=['<mask:99>']"], ["has 99 tokens", "at most 46"]),
    "a longer prompt than was trained with": (
        ["run_dir=RUNS/star_ilm", f"prompts=['{'1 ' * 29}']"],
        ["has 29 tokens", "at most 28"],
    ),
    "a damaged checkpoint": (["ckpt_path=broken.ckpt", "prompts=['a']"], ["broken.ckpt", "damaged"]),
    "another vocabulary": (
        ["experiment=star_easy_arlm", *STAR, "ckpt_path=RUNS/text_arlm/checkpoints/last.ckpt", "prompts=['1']"],
        ["do not fit", "(263, 32) in the file, (27, 32) in the model"],
    ),
    "another model": (
        ["experiment=pydoc_arlm", *TEXT, "ckpt_path=RUNS/text_mlm/checkpoints/last.ckpt", "prompts=['a']"],
        ["holds the weights of another model: mlm.model_mlm.MlmModel"],
    ),
    "markers": (["prompts=['a <mask>']"], ["Leave the markers out"]),
    "too long": ([f"prompts=['{'x' * 60}']"], ["has 60 tokens", "at most 46"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_leaves_nothing(xlm: Xlm, runs: Path, tmp_path: Path, case: str) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "blank.jsonl").write_bytes(b"\n \r\n")
    (tmp_path / "directory.txt").mkdir()
    (tmp_path / "broken.jsonl").write_bytes(b'{"prompt": "a"}\n{"prompt": "b\n')
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "caf\xe9"}\n')
    (tmp_path / "half.jsonl").write_bytes(b'{"prompt": "a\\ud83d"}\n')
    (tmp_path / "broken.ckpt").write_bytes((runs / "text_arlm/checkpoints/last.ckpt").read_bytes()[:5000])
    words, expected = BAD[case]
    directory = runs / "text_arlm"
    before = sorted(runs.rglob("*"))
    code, _, err = xlm(
        "job_type=generate", f"run_dir={directory}", *(word.replace("RUNS", str(runs)) for word in words)
    )
    assert code == 2, err
    assert err.startswith("Error: ") and all(word in err for word in expected), err
    assert sorted(runs.rglob("*")) == before and not (tmp_path / "runs").exists()
