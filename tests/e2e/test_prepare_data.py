"""``job_type=prepare_data``, and a task of one's own: a function, and ten lines of YAML."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from outcomes import REFERENCE_MODELS, Run
from tiny_models import write

TEXTS = [f"document {n} " + "text " * (n % 40) for n in range(400)]
SMALL = ("model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=32", "trainer.accelerator=cpu")
SHORT = ("trainer.max_steps=2", "trainer.val_check_interval=2", "batch_size=4", "datamodule.limit=8")

SUMS = '''
def to_ids(example, tokenizer):
    """{"question": "2 + 3", "answer": "5"} -> ids of both."""

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    return {"prompt_ids": ids(example["question"]), "token_ids": ids(example["answer"])}
'''
EXPERIMENT = """
# @package _global_
defaults:
  - override /model: arlm
  - override /model_type: arlm
  - override /datamodule: star_easy_arlm  # its collators are for prompts and answers
  - override /dataset: text

dataset:
  path: sums.jsonl
  layout: padded
  preprocess: my_model.sums.to_ids
  prompt_length: 8
  answer_length: 8
"""


@pytest.fixture
def corpus(home: Path) -> Path:
    file = home / "corpus.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return file


@pytest.fixture
def sums(project: Path) -> Path:
    """A project with a task: sums of two numbers."""
    write(project / "my_model" / "my_model" / "sums.py", SUMS)
    write(project / "my_model" / "configs" / "experiment" / "sums_my_model.yaml", EXPERIMENT)
    rows = [{"question": f"{a} + {b}", "answer": str(a + b)} for a in range(20) for b in range(20)]
    (project / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return project


def test_it_is_listed(xlm_process: Run) -> None:
    assert re.search(r"\n  prepare_data +make what training reads", xlm_process("--help").done())


def test_data_are_prepared_once(corpus: Path, xlm: Run) -> None:
    words = ("job_type=prepare_data", "experiment=text_arlm", "dataset.path=corpus.jsonl", "dataset.block_size=64")
    first = xlm(*words).done()
    place = re.search(r"Prepared: (.*)", first)
    assert place and Path(place[1]).is_dir()
    rows = re.findall(r"│ (\w+) +│ +(\d+) │ +0 │ +([\d,]+) │ +(\d+) │ +([\d.]+)% │", first)
    assert [row[0] for row in rows] == ["train", "val", "test"]
    assert sum(int(row[1]) for row in rows) == len(TEXTS)
    assert sum(int(row[2].replace(",", "")) for row in rows) == sum(map(len, TEXTS))
    assert float(rows[0][4]) < 5
    second = xlm(*words).done()
    assert f"All of it was there already: {place[1]}" in second and "preparing" not in second
    trained = xlm(*words[1:], *SMALL, *SHORT).done()
    assert "preparing" not in trained and "finished at step 2" in trained


def test_training_prepares_first_and_says_so(corpus: Path, xlm: Run) -> None:
    words = ("experiment=text_mlm", "dataset.path=corpus.jsonl", "dataset.block_size=64", *SMALL, *SHORT)
    assert "preparing train, val, test in " in xlm(*words, "job_name=a").done()
    assert "preparing" not in xlm(*words, "job_name=b").done()


def test_the_skeleton_trains_on_text(corpus: Path, xlm: Run) -> None:
    words = ("experiment=text_skeleton", "dataset.path=corpus.jsonl", "dataset.block_size=64", *SMALL, *SHORT)
    assert "val/loss" in xlm(*words, XLM_MODELS_PATH=str(REFERENCE_MODELS / "skeleton")).done()


def test_a_tokenizer_is_trained_with_the_data(corpus: Path, xlm: Run) -> None:
    words = ("experiment=text_arlm", "dataset.path=corpus.jsonl", "tokenizer=text_bpe", "tokenizer.vocab_size=290")
    out = xlm("job_type=prepare_data", *words).done()
    assert "training a tokenizer of 290 tokens in " in out and "tokenizer: 290 tokens" in out
    assert "training a tokenizer" not in xlm(*words, *SMALL, *SHORT).done()
    assert "test/loss" in xlm("job_type=eval", "job_name=default").done()


def test_a_tokenizer_of_a_directory(corpus: Path, home: Path, xlm: Run) -> None:
    from xlm_runtime.tokenizers import train_bpe

    train_bpe(TEXTS, 280).save_pretrained(home / "tokenizer")
    words = ("experiment=text_arlm", "dataset.path=corpus.jsonl", "tokenizer=auto", "tokenizer.name_or_path=tokenizer")
    assert "tokenizer: 280 tokens" in xlm("job_type=prepare_data", *words).done()


def test_other_datasets_can_be_prepared_too(home: Path, xlm: Run) -> None:
    out = xlm("job_type=prepare_data", "experiment=star_easy_arlm", "dataset.sizes={train: 30, val: 4, test: 5}").done()
    assert "train: 30 examples" in out and "test: 5 examples" in out


@pytest.mark.parametrize("name", ["lm1b", "openwebtext", "tinystories"])
def test_ready_datasets_take_files_of_ones_own(name: str, corpus: Path, xlm: Run) -> None:
    words = (f"dataset={name}", "dataset.path=corpus.jsonl", "tokenizer.vocab_size=290")
    shares = "dataset.shares={val: 0.1, test: 0.1}"
    out = xlm("experiment=text_arlm", *words, shares, *SMALL, *SHORT).done()
    assert "finished at step 2" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("experiment=text_arlm",), ("dataset.path and dataset.name are both empty", "dataset.path=")),
        (("experiment=text_arlm", "dataset.path=none.txt"), ("dataset.path is 'none.txt', but no file matches",)),
        (
            ("experiment=text_arlm", "dataset.path=corpus.jsonl", "dataset.column=txt"),
            ("corpus.jsonl, row 1: there is no column 'txt', only 'text'", "dataset.column"),
        ),
        (("experiment=text_ilm", "dataset.path=corpus.jsonl", "dataset.layout=packed"), ("dataset.layout=padded",)),
        (
            ("experiment=star_easy_arlm", "dataset=text", "dataset.path=corpus.jsonl"),
            ("'dataset.prompt_length' not found", "experiment=text_<model> dataset=lm1b"),
        ),
    ],
)
def test_what_is_missing_is_said(words: tuple[str, ...], expected: tuple[str, ...], corpus: Path, xlm: Run) -> None:
    xlm(*words, *SMALL, *SHORT).refused(*expected)


DATAMODULE = """
defaults:
  - /dataset@_global_.dataset: text
collators:
  lm: {_target_: my_model.parts.Collator, length: 16}
"""


def test_a_collator_that_knows_no_packed_rows(corpus: Path, project: Path, xlm: Run) -> None:
    write(project / "my_model" / "configs" / "datamodule" / "text_my_model.yaml", DATAMODULE)
    words = ("model=my_model", "model_type=my_model", "datamodule=text_my_model", "predictor=null", *SHORT)
    outcome = xlm(*words, "dataset.path=corpus.jsonl", "trainer.accelerator=cpu")
    outcome.refused("packed example for 'token_ids'", "dataset.layout=padded")
    xlm(*words, "dataset.path=corpus.jsonl", "trainer.accelerator=cpu", "dataset.layout=padded").done()


def test_a_task_of_ones_own(sums: Path, xlm: Run) -> None:
    out = xlm("job_type=prepare_data", "experiment=sums_my_model").done()
    assert sum(int(n) for n in re.findall(r"│ (?:train|val|test) +│ +(\d+) │", out)) == 400
    out = xlm("experiment=sums_my_model", "job_name=sums", *SMALL, *SHORT).done()
    assert "finished at step 2" in out and "val/exact_match" in out
    out = xlm("job_type=generate", "job_name=sums", "num_samples=2").done()
    rows = (sums / "runs" / "sums" / "predictions" / "test" / "step=2.generated.jsonl").read_text(encoding="utf-8")
    for row in map(json.loads, rows.splitlines()):
        first, plus, second = row["prompt"].split()
        assert plus == "+" and int(first) + int(second) == int(row["truth"])


def test_a_task_that_fails_names_the_row(sums: Path, xlm: Run) -> None:
    with (sums / "sums.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"question": "1 + 1"}\n')
    outcome = xlm("job_type=prepare_data", "experiment=sums_my_model")
    outcome.refused("sums.jsonl, row 401: my_model.sums.to_ids raised KeyError: 'answer'", "The row has 'question'.")
