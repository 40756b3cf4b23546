"""The cache of dataset=text is whole or not there, whoever makes it, and never that of other settings."""

from __future__ import annotations

import importlib
import linecache
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from text_corpus import TEXTS, TOKENIZER, dataset, write

from xlm_runtime.errors import DataError
from xlm_runtime.tokenizers import train_bpe


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
        "preprocess": key(preprocess=f"{__name__}.double"),
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
