"""dataset=text: nothing is lost, a document is in one split, and what cannot be used is named."""

from __future__ import annotations

import io
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from text_corpus import TEXTS, TOKENIZER, dataset, texts, write

from xlm_runtime.datasets import text_progress
from xlm_runtime.datasets.text import TextDataset
from xlm_runtime.errors import ComponentError, ConfigError, DataError


def test_every_document_is_whole_and_in_one_split(corpus: Path, tmp_path: Path) -> None:
    data = dataset(corpus, tmp_path / "cache")
    assert data.splits == ("train", "val", "test")
    found = {split: texts(data[split]) for split in data.splits}
    whole = [text for text in TEXTS if len(text) % 62]
    assert len(whole) > 580
    assert sorted(text for split in found.values() for text in split if text in TEXTS) >= sorted(whole)[:1]
    together = "".join(TOKENIZER.decode(e["token_ids"]) for split in data.splits for e in data[split])
    assert len(together) == sum(map(len, TEXTS))
    for split in ("val", "test"):
        assert 10 <= len(found[split]) <= 60  # 30 expected
    counts = data.prepared
    assert sum(count["documents"] for count in counts.values()) == len(TEXTS)
    assert sum(count["tokens"] for count in counts.values()) == sum(map(len, TEXTS))
    indices = [example["index"] for split in data.splits for example in data[split]]
    assert len(set(indices)) == len(indices)


def test_copies_of_a_document_are_in_one_split(tmp_path: Path) -> None:
    corpus = write(tmp_path / "a.jsonl", TEXTS * 2)
    data = dataset(corpus, tmp_path / "cache")
    for split in ("val", "test"):
        found = texts(data[split])
        assert sorted(found) == sorted(2 * sorted(set(found)))


def test_packed_blocks_hold_the_same_documents(corpus: Path, tmp_path: Path) -> None:
    packed = dataset(corpus, tmp_path / "cache", layout="packed")["val"]
    padded = dataset(corpus, tmp_path / "cache")["val"]
    assert len(packed) < 0.9 * len(padded)
    pieces = [tuple(piece) for example in packed for piece in example["documents"]]
    assert sorted(pieces) == sorted(tuple(example["token_ids"]) for example in padded)
    assert all(sum(len(piece) + 2 for piece in example["documents"]) <= 64 for example in packed)
    assert packed[-1] == packed[len(packed) - 1]
    with pytest.raises(IndexError):
        packed[len(packed)]
    assert pickle.loads(pickle.dumps(packed))[0] == packed[0]
    assert len(pickle.dumps(packed)) < 5000  # files are opened anew, not sent


def test_splits_of_their_own_take_no_share(tmp_path: Path) -> None:
    paths = {split: str(write(tmp_path / f"{split}.jsonl", [f"{split} {n}" for n in range(50)])) for split in "ab"}
    data = dataset({"train": paths["a"], "val": paths["b"]}, tmp_path / "cache", shares={"val": 0.5, "test": 0.1})
    assert len(data["val"]) == 50
    assert len(data["train"]) + len(data["test"]) == 50
    assert all(text.startswith("a ") for split in ("train", "test") for text in texts(data[split]))
    data = dataset({"train": paths["a"], "val": paths["b"]}, tmp_path / "cache", shares={"test": 0})
    assert data.splits == ("train", "val") and len(data["train"]) == 50
    with pytest.raises(DataError, match=r"no split 'test'; it has train, val"):
        data["test"]


def test_a_split_of_another_name_may_stand_beside_those_that_are_played(corpus: Path, tmp_path: Path) -> None:
    own = {"train": str(corpus), "val_long": str(corpus), "other": str(corpus)}
    assert dataset(own, tmp_path / "cache", shares={"val": None, "test": 0.1}).splits == (*own, "test")


def test_empty_documents_are_left_out_and_counted(tmp_path: Path) -> None:
    data = dataset(write(tmp_path / "a.jsonl", ["", "x", ""]), tmp_path / "cache", shares={})
    assert data.prepared["train"]["documents"] == 1 and data.prepared["train"]["empty"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shares": {"val": 1.0}}, "dataset.shares"),
        ({"shares": {"val": 0.6, "test": 0.4}}, "dataset.shares"),
        ({"shares": {"train": 0.5}}, "dataset.shares"),
        ({"shares": {"val": "few"}}, "dataset.shares"),
        ({"path": None}, "dataset.path and dataset.name are both empty"),
        ({"path": {"val": "{file}"}}, "splits are val; expected 'train'"),
        ({"path": {"train": "{file}", "vall": "{file}"}}, "split 'vall' has a source.*Did you mean 'val'"),
        ({"path": {"train": "{file}", "validation": "{file}"}}, "Did you mean 'val'.*dataset.shares.val=null"),
        ({"path": None, "name": "{directory}"}, "on this machine: set dataset.path"),
        ({"layout": "dense"}, "dataset.layout is 'dense'; expected one of: packed, padded"),
        ({"sample_by": "word"}, "dataset.sample_by"),
        ({"block_size": 2}, "block_size is 2"),
        ({"preprocess": "no.such.function"}, "no.such.function.*dataset.preprocess"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str, corpus: Path, tmp_path: Path) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        return value.format(file=corpus, directory=tmp_path) if isinstance(value, str) else value

    with pytest.raises((ConfigError, ComponentError), match=words):
        TextDataset(TOKENIZER, **{"path": str(corpus), "cache_dir": tmp_path, **filled(options)})


def test_a_split_without_text(tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", ["x", "y"])
    with pytest.raises(DataError, match=r"split 'val'.*holds no text.\nIt is a share.*dataset.shares.val"):
        _ = dataset(few, tmp_path / "cache").prepared
    assert not list((tmp_path / "cache" / "text").glob("*/"))  # and nothing is left behind
    none = write(tmp_path / "none.jsonl", ["", ""])
    with pytest.raises(DataError, match=r"split 'train'.*holds no text \(2 empty documents\).\n.*none\.jsonl"):
        _ = dataset(none, tmp_path / "cache", shares={}).prepared


def test_a_malformed_row_leaves_no_cache(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", TEXTS)
    file.write_text(file.read_text(encoding="utf-8") + '{"text": ', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl, row 601"):
        _ = dataset(file, tmp_path / "cache").prepared
    assert [p.name for p in (tmp_path / "cache" / "text").iterdir() if not p.name.endswith(".lock")] == []


def test_half_a_character_in_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"text": "\\ud800"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl, row 2: the text cannot be written as UTF-8"):
        _ = dataset(tmp_path / "a.jsonl", tmp_path / "cache", shares={}).prepared


def test_preparing_says_how_far_it_is(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_progress, "INTERVAL", 0.0)
    plain, terminal = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", plain)
    dataset(corpus, tmp_path / "a").prepare(text_progress.Report(Console(file=plain)))
    assert "tokenising train and val and test: 600 documents, " in plain.getvalue()
    assert "tokens/s, 100% of the files" in plain.getvalue() and "\x1b" not in plain.getvalue()
    report = text_progress.Report(Console(file=terminal, force_terminal=True, width=200))
    start = time.monotonic()
    dataset(corpus, tmp_path / "b").prepare(report)
    assert time.monotonic() - start < 60
    assert "preparing train, val, test in" in terminal.getvalue() and "━" in terminal.getvalue()
