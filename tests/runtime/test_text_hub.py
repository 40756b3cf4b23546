"""dataset=text from the hub, and the ready configurations of what stands there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from text_corpus import TEXTS, TOKENIZER, dataset, texts

from xlm_runtime.build import build_dataset, build_tokenizer
from xlm_runtime.config import compose
from xlm_runtime.errors import DataError, XlmError
from xlm_runtime.tokenizers import train_bpe


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A hub that has ``some/stories``; returns how it was asked."""
    import datasets

    asked = []

    def load(name: str, config_name: str | None, *, split: str, revision: str | None, streaming: bool) -> Any:
        asked.append((name, config_name, split, revision, streaming))
        if name != "some/stories":
            raise ConnectionError("no network\nmore lines")
        data = datasets.Dataset.from_dict({"text": [f"{split} {text}" for text in TEXTS], "id": TEXTS})
        return data.to_iterable_dataset(num_shards=3) if streaming else data

    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def test_a_dataset_of_the_hub(hub: list[Any], tmp_path: Path) -> None:
    options = {"name": "some/stories", "config_name": "c", "revision": "r", "splits": {"train": "train", "val": "dev"}}
    data = dataset(None, tmp_path, shares={"test": 0.1}, **options)
    assert hub == []
    assert all(text.startswith("train document") for text in texts(data["test"]))
    assert data.prepared["val"]["documents"] == len(TEXTS)
    assert hub == [("some/stories", "c", "train", "r", False), ("some/stories", "c", "dev", "r", False)]
    assert len(dataset(None, tmp_path, shares={"test": 0.1}, **options)["train"]) and len(hub) == 2
    with pytest.raises(DataError, match=r"'some/stories' has no column 'txt'; it has 'text', 'id'"):
        _ = dataset(None, tmp_path, column="txt", **options).prepared
    with pytest.raises(
        DataError, match=r"'some/other' \(config_name None, split train.*cannot be loaded: no network\n"
    ):
        _ = dataset(None, tmp_path, name="some/other").prepared


def test_a_stream_of_the_hub_goes_on_where_it_stood(hub: list[Any], tmp_path: Path) -> None:
    options = {"name": "some/stories", "streaming": True, "stream_window": 20}
    stream = iter(dataset(None, tmp_path, **options)["train"])
    for _ in range(150):
        next(stream)
    state = json.loads(json.dumps(stream.state_dict()))
    expected = [next(stream) for _ in range(3000)]  # into a further pass
    assert stream.state_dict()["pass"] > state["pass"]
    again = iter(dataset(None, tmp_path, **options)["train"])
    again.load_state_dict(state)
    assert [next(again) for _ in range(3000)] == expected
    assert all(streaming for *_, streaming in hub)


def test_loader_processes_divide_a_stream_of_the_hub(hub: list[Any], tmp_path: Path) -> None:
    """The library's own division among loader processes, by its shards, is not in the way."""
    from torch.utils.data import DataLoader

    stream = dataset(None, tmp_path, name="some/stories", streaming=True, shares={}, layout="packed")["train"]
    loader = DataLoader(stream, batch_size=None, num_workers=2)
    found: set[str] = set()
    for _, example in zip(range(2000), loader, strict=False):
        found |= {TOKENIZER.decode(document) for document in example["documents"]}
    assert {f"train {text}" for text in TEXTS if len(text) < 55} <= found


#: As the hub has them: splits, columns.
SCHEMAS = {
    "lm1b": ({"train": 400, "test": 20}, ("text",)),
    "openwebtext": ({"train": 4000}, ("text",)),
    "tinystories": ({"train": 600, "validation": 20}, ("text",)),
}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_ready_configurations_read_a_stand_in(name: str, tmp_path: Path) -> None:
    splits, columns = SCHEMAS[name]
    for split, count in splits.items():
        table = pyarrow.table(
            {column: [f"{split} {n} " + "word " * (n % 90) for n in range(count)] for column in columns}
        )
        pyarrow.parquet.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet", row_group_size=100)
    theirs = {"val": "validation"} | {split: split for split in splits if split != "validation"}
    paths = {ours: f"{tmp_path}/{split}-*.parquet" for ours, split in theirs.items() if split in splits}
    words = ", ".join(f"{split}: '{path}'" for split, path in paths.items())
    more = ["dataset.shares={val: 0.05, test: 0.05}", "tokenizer.vocab_size=300", f"cache_dir={tmp_path / 'cache'}"]
    cfg = compose([f"+dataset={name}", f"dataset.path={{{words}}}", *more])
    tokenizer = build_tokenizer(cfg)
    data = build_dataset(cfg, tokenizer)
    assert set(data.splits) == {"train", "val", "test"}
    example = data["train"][0]
    assert sum(len(document) + 2 for document in example["documents"]) <= cfg.dataset.block_size
    for split in splits:
        if split != "train":
            ours = {"validation": "val"}.get(split, split)
            assert data.prepared[ours]["documents"] == splits[split]
            assert tokenizer.decode(data[ours][0]["documents"][0]).startswith(f"{split} 0")


@pytest.mark.parametrize(
    ("name", "hub_name", "splits"),
    [
        ("lm1b", "billion-word-benchmark/lm1b", {"train": "train", "test": "test"}),
        ("openwebtext", "Skylion007/openwebtext", {"train": "train"}),
        ("tinystories", "roneneldan/TinyStories", {"train": "train", "val": "validation"}),
    ],
)
def test_ready_configurations_compose_without_a_network(name: str, hub_name: str, splits: dict[str, str]) -> None:
    cfg = compose([f"+dataset={name}"])
    assert cfg.dataset.name == hub_name and cfg.dataset.splits == splits
    assert cfg.tokenizer.name == hub_name and cfg.tokenizer.cache_dir == cfg.cache_dir


def test_a_bpe_is_trained_once_on_training_documents(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"dataset.path={corpus}", f"cache_dir={tmp_path / 'cache'}", "tokenizer=text_bpe"]
    cfg = compose(["+dataset=text", *words, "tokenizer.vocab_size=290"])
    first = build_tokenizer(cfg)
    assert len(first) == 290 == cfg.vocab.size
    assert "training a tokenizer of 290 tokens" in capsys.readouterr().out
    train = dataset(corpus, tmp_path / "other")["train"]
    expected = train_bpe(texts(train), 290)
    assert first.get_vocab().keys() == expected.get_vocab().keys()
    monkeypatch.setattr("xlm_runtime.tokenizers.train_bpe", None)
    capsys.readouterr()
    assert build_tokenizer(cfg).get_vocab() == first.get_vocab()
    assert capsys.readouterr().out == ""
    with pytest.raises((TypeError, XlmError)):
        build_tokenizer(compose(["+dataset=text", *words, "tokenizer.vocab_size=291"]))
