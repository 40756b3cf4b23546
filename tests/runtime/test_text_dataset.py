"""dataset=text: nothing is lost, a document is in one split, and a cache is whole or not there."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from xlm_runtime.build import build_dataset, build_tokenizer
from xlm_runtime.config import compose
from xlm_runtime.datasets.text import TextDataset
from xlm_runtime.errors import ComponentError, ConfigError, DataError, XlmError
from xlm_runtime.tokenizers import byte_tokenizer, number_tokenizer, train_bpe

TOKENIZER = byte_tokenizer()
TEXTS = [f"document {n} " + "text " * (n % 60) for n in range(600)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write(tmp_path / "corpus.jsonl", TEXTS)


def write(file: Path, texts: list[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return file


def dataset(path: Any, cache: Path, tokenizer: Any = TOKENIZER, **options: Any) -> TextDataset:
    options = {"block_size": 64, "layout": "padded", **options}
    if path is not None:
        options["path"] = path if isinstance(path, dict) else str(path)
    return TextDataset(tokenizer, cache_dir=cache, **options)


def texts(examples: Any) -> list[str]:
    """The documents of padded blocks: a block that is not full ends one, as none of these is a multiple."""
    found, text = [], []
    for example in examples:
        text += example["token_ids"]
        if len(example["token_ids"]) < 62:
            found.append(TOKENIZER.decode(text))
            text = []
    return found


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
    with pytest.raises(DataError, match=r"split 'train'.*holds no text \(2 empty documents\)"):
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


# -- the cache ------------------------------------------------------------------------------------------------


def test_a_second_dataset_reads_no_source(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = dataset(corpus, tmp_path / "cache")
    assert not first.is_prepared()
    expected = first["train"][0]
    assert first.is_prepared()
    monkeypatch.setattr("xlm_runtime.datasets.text_sources.raw_rows", None)
    assert dataset(corpus, tmp_path / "cache")["train"][0] == expected
    again = dataset(corpus, tmp_path / "cache", layout="packed", block_size=32)  # other blocks of the same tokens
    assert len(again["train"]) > 0


def double(example: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    return {"token_ids": 2 * tokenizer(example["text"], add_special_tokens=False)["input_ids"]}


def test_the_key_is_of_every_parameter(corpus: Path, tmp_path: Path) -> None:
    def key(path: Any = corpus, tokenizer: Any = TOKENIZER, **options: Any) -> Path:
        return dataset(path, tmp_path, tokenizer, **options).directory

    first = key()
    other = write(tmp_path / "other.jsonl", TEXTS)
    keys = {
        "again": key(),
        "file": key(other),
        "tokenizer": key(tokenizer=train_bpe(TEXTS, 300)),
        "other tokenizer": key(tokenizer=train_bpe(TEXTS, 301)),
        "column": key(column="other"),
        "sample_by": key(sample_by="paragraph"),
        "shares": key(shares={"val": 0.1}),
        "seed": key(seed=1),
        "preprocess": key(preprocess="test_text_dataset.double"),
        "streaming": key(streaming=True),
        "eval_documents": key(streaming=True, eval_documents=5),
    }
    assert keys.pop("again") == first
    assert len({*keys.values(), first}) == len(keys) + 1
    os.utime(corpus, ns=(1, 1))
    touched = key()
    assert touched != first
    write(corpus, [*TEXTS, "more"])
    os.utime(corpus, ns=(1, 1))
    assert key() not in (first, touched)


def test_the_key_is_of_the_functions_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write(tmp_path / "a.jsonl", TEXTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    keys = []
    for number in (1, 2):
        code = f"def one():\n    return {number}\n\ndef ids(example, tokenizer):\n    return {{'token_ids': [one()]}}\n"
        (tmp_path / "task_of_mine.py").write_text(code, encoding="utf-8")
        sys.modules.pop("task_of_mine", None)
        import importlib
        import linecache

        importlib.invalidate_caches()
        linecache.clearcache()
        keys.append(dataset(corpus, tmp_path, preprocess="task_of_mine.ids").directory)
    assert keys[0] != keys[1]


SCRIPT = """
import sys, time
from pathlib import Path
from xlm_runtime.datasets import text_prepare
from xlm_runtime.datasets.text import TextDataset
from xlm_runtime.tokenizers import byte_tokenizer

append = text_prepare._SplitWriter.append
def slow(self, *arguments):
    if self.documents == 100:
        print("half", flush=True)
        while not Path(sys.argv[3]).exists():
            time.sleep(0.02)
    return append(self, *arguments)
text_prepare._SplitWriter.append = slow
ds = TextDataset(byte_tokenizer(), path=sys.argv[1], cache_dir=sys.argv[2], block_size=64)
print("blocks", len(ds["train"]), flush=True)
"""


def start(corpus: Path, cache: Path, go_on: Path) -> subprocess.Popen[str]:
    """A process that prepares the corpus, and stands still in the middle until the file ``go_on`` is there."""
    words = [sys.executable, "-c", SCRIPT, str(corpus), str(cache), str(go_on)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert any(line.startswith(word) for line in process.stdout)


def test_a_killed_preparation_is_never_taken_for_a_whole_one(corpus: Path, tmp_path: Path) -> None:
    process = start(corpus, tmp_path / "cache", tmp_path / "never")
    wait_for(process, "half")
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = [path for path in (tmp_path / "cache" / "text").iterdir() if path.is_dir()]
    assert [path.suffix for path in left] == [".tmp"]
    data = dataset(corpus, tmp_path / "cache", layout="packed")
    assert not data.is_prepared()
    expected = dataset(corpus, tmp_path / "undisturbed", layout="packed")
    assert list(data["train"]) == list(expected["train"])
    assert not left[0].exists()


def test_two_processes_at_once_make_it_once(corpus: Path, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    first = start(corpus, tmp_path / "cache", go_on)
    wait_for(first, "half")
    second = start(corpus, tmp_path / "cache", go_on)
    wait_for(second, "waiting for another process")
    go_on.touch()
    outputs = [process.communicate()[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert "preparing" not in outputs[1]
    assert outputs[0].split()[-1] == outputs[1].split()[-1]


def test_without_locks_the_first_rename_counts(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def refuse(*arguments: Any) -> None:
        raise OSError(38, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    other = start(corpus, tmp_path / "cache", tmp_path / "go on")
    wait_for(other, "half")
    expected = list(dataset(corpus, tmp_path / "cache", layout="packed")["train"])
    (tmp_path / "go on").touch()
    assert other.wait() == 0
    assert list(dataset(corpus, tmp_path / "cache", layout="packed")["train"]) == expected
    assert not list((tmp_path / "cache" / "text").glob(".*.tmp"))


def test_a_damaged_cache_is_an_error(corpus: Path, tmp_path: Path) -> None:
    data = dataset(corpus, tmp_path / "cache")
    _ = data.prepared
    file = data.directory / "train.tokens"
    os.truncate(file, file.stat().st_size - 2)
    with pytest.raises(DataError, match=r"damaged: train\.tokens\. Delete this directory"):
        dataset(corpus, tmp_path / "cache")["train"]


def test_a_cache_that_cannot_be_written(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(DataError, match="set cache_dir"):
        dataset(corpus, tmp_path / "cache")["train"]


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """A few batches of documents are in memory: 27 MB of text take hardly more of it than 5 MB."""
    script = """
import resource, sys
from xlm_runtime.datasets.text import TextDataset
from xlm_runtime.tokenizers import byte_tokenizer
tokenizer = byte_tokenizer()
used = []
for path in sys.argv[2:]:
    ds = TextDataset(tokenizer, path=path, cache_dir=sys.argv[1], block_size=512, shares={})
    len(ds["train"])
    used.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(used[1] - used[0])
"""
    small, large = tmp_path / "small.txt", tmp_path / "large.txt"
    line = "many words make a document of some length, and this is one of them\n" * 4
    small.write_text((line.replace("\n", " ") + "\n") * 20_000, encoding="utf-8")
    large.write_text((line.replace("\n", " ") + "\n") * 100_000, encoding="utf-8")
    words = [sys.executable, "-c", script, str(tmp_path / "cache"), str(small), str(large)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) < 12_000  # KiB


# -- functions of one's own -----------------------------------------------------------------------------------


def pairs(example: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    return {"prompt_ids": ids(example["question"]), "token_ids": ids(example["answer"])}


def returns(example: dict[str, Any], tokenizer: Any) -> Any:
    return eval(example["returns"])


def pairs_file(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_prompts_and_answers_of_a_function(tmp_path: Path) -> None:
    rows = [{"question": f"{n} + {n}", "answer": str(2 * n)} for n in range(200)]
    options = {"preprocess": "test_text_dataset.pairs", "prompt_length": 12, "answer_length": 5}
    data = dataset(pairs_file(tmp_path, rows), tmp_path / "cache", number_tokenizer(400), **options)
    assert not data.is_prepared()
    found = [example for split in data.splits for example in data[split]]
    assert data.is_prepared()
    answers = {tuple(example["prompt_ids"]): example["token_ids"] for example in found}
    assert len(found) == 200 and answers[(7 + 3, 6, 7 + 3)] == [7 + 6]
    assert len({example["index"] for example in found}) == 200
    with pytest.raises(ConfigError, match=r"layout is packed.*prompts.*layout=padded"):
        dataset(tmp_path / "pairs.jsonl", tmp_path, number_tokenizer(400), layout="packed", **options)["train"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1 / 0", "raised ZeroDivisionError: division by zero"),
        ("None", r"returned None; expected \{\"token_ids\""),
        ("{}", "returned a dict with nothing"),
        ("{'ids': [1]}", "returned a dict with 'ids'"),
        ("{'token_ids': [1], 'mask': [1]}", "returned a dict with 'token_ids', 'mask'"),
        ("{'token_ids': 'x'}", "returned token_ids 'x', expected a list of whole numbers"),
        ("{'token_ids': [1.5]}", r"returned token_ids \[1.5\], expected a list of whole numbers"),
        ("{'token_ids': [[1], [1, 2]]}", r"returned token_ids \[\[1\], \[1, 2\]\], expected a list of whole numbers"),
        ("{'token_ids': [-1]}", "returned token_ids with an id of -1; the vocabulary has 0 to 262"),
        ("{'token_ids': [263]}", "returned token_ids with an id of 263"),
        (
            "{'token_ids': [8] * 4, 'prompt_ids': []}",
            "returned 4 token_ids, but dataset.answer_length leaves room for 3",
        ),
        ("{'token_ids': [8], 'prompt_ids': [8] * 9}", "returned 9 prompt_ids, but dataset.prompt_length"),
    ],
)
def test_what_a_function_does_wrong_is_named_by_row(value: str, words: str, tmp_path: Path) -> None:
    good = {"returns": "{'token_ids': [8], 'prompt_ids': [8]}"}
    file = pairs_file(tmp_path, [good, {"returns": value}])
    options = {"preprocess": "test_text_dataset.returns", "prompt_length": 8, "answer_length": 5, "shares": {}}
    with pytest.raises(DataError, match=rf"pairs\.jsonl, row 2: test_text_dataset\.returns {words}"):
        _ = dataset(file, tmp_path / "cache", **options).prepared


def test_prompts_of_some_rows_only_and_without_lengths(tmp_path: Path) -> None:
    rows = [{"returns": "{'token_ids': [8], 'prompt_ids': [8]}"}, {"returns": "{'token_ids': [8]}"}]
    options = {"preprocess": "test_text_dataset.returns", "shares": {}}
    with pytest.raises(DataError, match=r"row 1: .*dataset\.prompt_length is empty: set it"):
        _ = dataset(pairs_file(tmp_path, rows), tmp_path / "cache", **options).prepared
    options |= {"prompt_length": 8, "answer_length": 5}
    with pytest.raises(DataError, match=r"row 2: .*returned no prompt_ids, but for earlier rows it did"):
        _ = dataset(tmp_path / "pairs.jsonl", tmp_path / "cache", **options).prepared


# -- the hub, and the ready configurations ----------------------------------------------------------------------


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


def test_preparing_says_how_far_it_is(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    from xlm_runtime.datasets import text_progress

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
