"""A stream of text: endless, divided without overlap, and continued with exactly the blocks that would have come."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset

from xlm_runtime import checkpoint
from xlm_runtime.config import compose
from xlm_runtime.datamodule import DataModule
from xlm_runtime.datasets.text import TextDataset
from xlm_runtime.errors import ConfigError, DataError
from xlm_runtime.jobs import train
from xlm_runtime.tokenizers import byte_tokenizer

TOKENIZER = byte_tokenizer()
MODELS = Path(__file__).resolve().parents[2] / "reference-models"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Six files, 300 documents of 5 to 55 bytes, no two alike."""
    directory = tmp_path / "corpus"
    directory.mkdir()
    for name in range(6):
        lines = [f"{name}-{n:02d} " + "word " * (n % 11) for n in range(50)]
        (directory / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    return directory


def dataset(corpus: Path, **options: Any) -> TextDataset:
    options = {"block_size": 64, "streaming": True, "stream_window": 8, **options}
    return TextDataset(TOKENIZER, path=str(corpus), cache_dir=corpus.parent / "cache", **options)


def names(examples: Any) -> list[str]:
    """The beginnings of the documents of packed blocks, which name them."""
    return [TOKENIZER.decode(d)[:4] for example in examples for d in example["documents"]]


def one_pass(stream: Any) -> list[dict[str, Any]]:
    found, iterator = [], iter(stream)
    while True:
        example = next(iterator)
        if iterator.state_dict()["pass"] > 0:
            return found
        found.append(example)


def test_a_pass_has_every_training_document_once(corpus: Path) -> None:
    prepared = dataset(corpus, streaming=False)
    stream = one_pass(dataset(corpus)["train"])
    assert sorted(names(stream)) == sorted(names(prepared["train"]))
    assert names(stream) != names(prepared["train"])
    assert sorted(names(dataset(corpus)["val"])) == sorted(names(prepared["val"]))
    assert all(sum(len(d) + 2 for d in example["documents"]) <= 64 for example in stream)
    assert len({example["index"] for example in stream}) == len(stream)


def test_every_pass_has_another_order_and_a_seed_repeats_it(corpus: Path) -> None:
    length = len(one_pass(dataset(corpus)["train"]))
    passes = [names(part) for part in _parts(dataset(corpus)["train"], length, 3)]
    assert passes[0] != passes[1] != passes[2] != passes[0]
    assert Counter(passes[0]) == Counter(passes[1]) or abs(len(passes[0]) - len(passes[1])) < 9
    assert names(islice(dataset(corpus)["train"], length)) == passes[0]
    assert names(islice(dataset(corpus, seed=1, shares={})["train"], length)) != passes[0]


def _parts(stream: Any, length: int, count: int) -> list[list[Any]]:
    iterator = iter(stream)
    return [list(islice(iterator, length)) for _ in range(count)]


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("place", [0, 1, 8, 50, 333])
def test_a_stream_goes_on_where_it_stood(corpus: Path, layout: str, place: int) -> None:
    whole = list(islice(dataset(corpus, layout=layout)["train"], place + 400))
    iterator = iter(dataset(corpus, layout=layout)["train"])
    assert list(islice(iterator, place)) == whole[:place]
    state = json.loads(json.dumps(iterator.state_dict()))
    assert len(json.dumps(state)) < 300  # it is sent with every batch
    again = iter(dataset(corpus, layout=layout)["train"])
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert list(islice(again, 400)) == whole[place:]


def test_processes_share_a_stream_without_overlap(corpus: Path) -> None:
    expected = sorted(names(one_pass(dataset(corpus)["train"])))
    parts = [one_pass(dataset(corpus)["train"].share(rank, 3)) for rank in range(3)]
    assert sorted(name for part in parts for name in names(part)) == expected
    indices = [example["index"] for part in parts for example in part]
    assert len(set(indices)) == len(indices)


def test_blocks_can_be_passed_over(corpus: Path) -> None:
    whole = list(islice(dataset(corpus)["train"], 60))
    assert list(islice(dataset(corpus)["train"].share(0, 1, skipped=37), 23)) == whole[37:]


def test_a_stream_can_be_sent_to_another_process(corpus: Path) -> None:
    stream = dataset(corpus)["train"]
    content = pickle.dumps(stream)
    assert list(islice(pickle.loads(content), 50)) == list(islice(stream, 50))


def test_fewer_documents_than_processes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n", encoding="utf-8")
    stream = TextDataset(TOKENIZER, str(tmp_path / "a.txt"), streaming=True, shares={}, cache_dir=tmp_path)["train"]
    assert len(list(islice(stream.share(1, 2), 5))) == 5
    with pytest.raises(DataError, match=r"no document for loader process 3 of 3.*Lower num_workers"):
        next(iter(stream.share(2, 3)))


def test_evaluation_is_prepared_and_bounded(corpus: Path) -> None:
    data = dataset(corpus, eval_documents=5)
    assert isinstance(data["train"], IterableDataset)
    assert [data.prepared[split]["documents"] for split in ("val", "test")] == [5, 5]
    assert set(data.prepared) == {"val", "test"}
    everything = dataset(corpus, eval_documents=None)
    assert names(data["val"])[:1] and set(names(data["val"])) < set(names(everything["val"]))


# -- through the datamodule ------------------------------------------------------------------------------------


def datamodule(corpus: Path, workers: int, **options: Any) -> DataModule:
    settings = {"limit": None, "splits": {"train": "train", "val": "val"}, **options}
    return DataModule(
        dataset(corpus),
        {"lm": list, "prediction": None},
        batch_size=4,
        eval_batch_size=4,
        num_workers=workers,
        seed=0,
        eval_split="val",
        shuffle=True,
        **settings,
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_goes_on_where_it_stood(corpus: Path, workers: int) -> None:
    whole = list(islice(datamodule(corpus, workers).train_dataloader(), 60))
    assert all(len(batch) == 4 for batch in whole)
    loader = datamodule(corpus, workers).train_dataloader()
    begun = list(islice(loader, 23))
    state = loader.state_dict()
    again = datamodule(corpus, workers).train_dataloader()
    again.load_state_dict(state)
    assert begun + list(islice(again, 37)) == whole


def test_workers_divide_a_stream(corpus: Path) -> None:
    batches = list(islice(datamodule(corpus, 2).train_dataloader(), 30))
    found = names(example for batch in batches for example in batch)
    assert len(found) > 100 and max(Counter(found).values()) <= 2  # so many are less than a pass and a half


def test_limits_and_evaluation_of_a_stream(corpus: Path) -> None:
    data = datamodule(corpus, 0, limit=6, splits={"train": "train", "val": "train"})
    assert len(data.examples("train")) == 6 and data.training_size() == "6 training examples"
    assert data.examples("train") == list(islice(dataset(corpus)["train"], 6))
    assert sum(map(len, data.val_dataloader()[0])) == 6
    with pytest.raises(ConfigError, match=r"endless stream .*splits\.val is 'train'.*datamodule\.limit"):
        datamodule(corpus, 0, splits={"train": "train", "val": "train"}).val_dataloader()
    assert datamodule(corpus, 0).training_size() == "an endless stream of training examples"
    assert datamodule(corpus, 0).first_training_example() == next(iter(dataset(corpus)["train"]))


def steps(corpus: Path, run_dir: Path, count: int, workers: int) -> dict[str, torch.Tensor]:
    """The train job up to step ``count``; the weights after it."""
    words = [
        *("experiment=text_arlm", f"dataset.path={corpus}", "dataset.streaming=true", "dataset.block_size=64"),
        *("dataset.stream_window=8", "model.d_model=16", "model.num_layers=1", "model.num_heads=1", "model.d_ff=16"),
        *(f"run_dir={run_dir}", f"cache_dir={corpus.parent / 'cache'}", f"trainer.max_steps={count}", "batch_size=4"),
        *("trainer.val_check_interval=3", "trainer.limit_val_batches=1", "checkpoint_every_n_steps=2"),
        *("trainer.accelerator=cpu", "logger.tensorboard=null", f"num_workers={workers}"),
        "lr_scheduler.num_warmup_steps=0",
    ]
    train.run(compose(words))
    contents = checkpoint.read(run_dir / "checkpoints" / "last.ckpt")
    assert contents["global_step"] == count
    return contents["state_dict"]


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    from xlm_runtime.discovery import activate, discover

    monkeypatch.setenv("XLM_MODELS_PATH", str(MODELS))
    activate(discover().models)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_on_a_stream_is_continued_exactly(corpus: Path, tmp_path: Path, workers: int, models: None) -> None:
    expected = steps(corpus, tmp_path / "whole", 9, workers)
    for count in (2, 5, 9):
        found = steps(corpus, tmp_path / "parts", count, workers)
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []


def test_a_run_on_a_stream_may_go_on_with_other_workers(corpus: Path, tmp_path: Path, models: None) -> None:
    steps(corpus, tmp_path / "run", 4, 0)
    steps(corpus, tmp_path / "run", 6, 2)
