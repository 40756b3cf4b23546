"""What a run was made of may change, or go away, before it is continued or used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from outcomes import Run

TEXTS = [f"document {n} " + "text " * (n % 40) for n in range(400)]
SMALL = ("model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=32", "trainer.accelerator=cpu")
SHORT = ("trainer.val_check_interval=2", "batch_size=4", "datamodule.limit=8", "predictor.max_new_tokens=4")
TRAIN = ("job_name=bpe", "experiment=text_arlm", "dataset.path=corpus.jsonl", "dataset.block_size=64", *SMALL, *SHORT)


def write_corpus(file: Path, texts: list[str]) -> None:
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


@pytest.fixture
def corpus(home: Path) -> Path:
    file = home / "corpus.jsonl"
    write_corpus(file, TEXTS)
    return file


def test_a_trained_tokenizer_stays_with_its_run(corpus: Path, xlm: Run, home: Path) -> None:
    bpe = ("tokenizer=text_bpe", "tokenizer.vocab_size=300")
    xlm(*TRAIN, *bpe, "trainer.max_steps=2").done()
    generate = ("job_type=generate", "job_name=bpe", "prompts=[document]")
    rows = home / "runs/bpe/predictions"
    xlm(*generate).done()
    (file,) = rows.rglob("*.generated.jsonl")
    ids = json.loads(file.read_text(encoding="utf-8"))["ids"]

    write_corpus(corpus, [f"quite other words {n} of another kind" for n in range(400)])
    xlm(*TRAIN, *bpe, "trainer.max_steps=4").refused("last.ckpt was trained with another tokenizer", "another job_name")
    xlm(*generate).done()
    assert json.loads(file.read_text(encoding="utf-8"))["ids"] == ids

    corpus.unlink()
    xlm(*generate, "split=val").done()
    xlm("job_type=export", "job_name=bpe", "export_dir=exported").done()


def test_an_end_that_was_not_noted_is_that_of_the_last_validation(corpus: Path, xlm: Run, home: Path) -> None:
    """As after a kill between the last checkpoint and the note."""
    xlm(*TRAIN, "trainer.max_steps=2").done()
    file = home / "runs/bpe/finished.json"
    end = json.loads(file.read_text(encoding="utf-8"))
    assert end["step"] == 2 and "val/loss" in end["metrics"]
    file.unlink()
    printed = xlm(*TRAIN, "trainer.max_steps=2").done()
    assert f"finished at step 2: val/loss {end['metrics']['val/loss']:.4f}" in printed
    again = json.loads(file.read_text(encoding="utf-8"))
    assert again["metrics"] == pytest.approx(end["metrics"])


def test_files_may_become_a_stream_and_dropout_may_change(corpus: Path, xlm: Run) -> None:
    xlm(*TRAIN, "trainer.max_steps=2").done()
    printed = xlm(*TRAIN, "trainer.max_steps=4", "dataset.streaming=true", "model.dropout=0.1").done()
    assert "changed since the run began: model.dropout: 0.0 -> 0.1" in printed
    assert "continued from step 2" in printed and "finished at step 4" in printed


def test_options_of_one_parts_parameters(corpus: Path, xlm: Run, home: Path) -> None:
    words = ("trainer.max_steps=2", "trainer.log_every_n_steps=1", "lr_scheduler.num_warmup_steps=0")
    xlm(*TRAIN, *words, "optimizer.groups={model: {lr: 1e-4}}").done()
    header, row, *_ = (home / "runs/bpe/metrics.csv").read_text(encoding="utf-8").splitlines()
    assert float(row.split(",")[header.split(",").index("train/lr")]) == pytest.approx(1e-4)


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_files_that_have_changed_under_a_run_are_told_of(corpus: Path, xlm: Run, streaming: str) -> None:
    words = (*TRAIN, f"dataset.streaming={streaming}", "tokenizer=byte")
    xlm(*words, "trainer.max_steps=2").done()
    said = "changed since the run began: the files that the dataset is made of"
    assert said not in xlm(*words, "trainer.max_steps=3").done()
    write_corpus(corpus, TEXTS[1:])
    out = xlm(*words, "trainer.max_steps=4").done()
    assert said in out and "continued from step 3" in out
    assert said not in xlm(*words, "trainer.max_steps=5").done()
