"""Files of text: every kind is read, and what cannot be read is named by file, row and column."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from xlm_runtime.datasets.text_files import Reading, find_files
from xlm_runtime.datasets.text_sources import FileSource
from xlm_runtime.errors import DataError

TEXTS = ["one, two", 'a "word"', "zwei\u00e4", "line\nbreak", "x" * 200_000]
LINES = [text.replace("\n", " ") for text in TEXTS]
HOW = Reading("text", False, "line")


def write(directory: Path, kind: str, texts: list[str], name: str = "a") -> Path:
    file = directory / f"{name}.{kind}"
    if kind == "txt":
        file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    elif kind == "jsonl":
        file.write_text("".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts), encoding="utf-8")
    elif kind == "csv":
        with file.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([["id", "text"], *(["1", text] for text in texts)])
    else:
        table = pyarrow.table({"id": [1] * len(texts), "text": texts})
        pyarrow.parquet.write_table(table, file, row_group_size=2)
    return file


def texts_of(path: Any, how: Reading = HOW, start: dict[str, Any] | None = None) -> list[str]:
    return [record.text(record.content()) for record in FileSource(path, how).records(start or {})]


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "parquet"])
def test_every_kind_is_read_from_any_place(kind: str, tmp_path: Path) -> None:
    expected = LINES if kind == "txt" else TEXTS
    file = write(tmp_path, kind, expected)
    write(tmp_path, kind, ["second"], "b")
    assert texts_of(str(file)) == expected
    records = list(FileSource(str(tmp_path), HOW).records())
    assert [record.place.row for record in records] == [1, 2, 3, 4, 5, 1]
    for place, record in enumerate(records):
        assert texts_of(str(tmp_path), start=record.after) == [*expected, "second"][place + 1 :]


def test_a_byte_order_mark_empty_lines_and_windows_line_ends_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffone\r\n\r\ntwo".encode())
    assert texts_of(str(tmp_path / "a.txt")) == ["one", "two"]
    (tmp_path / "b.jsonl").write_bytes('\ufeff{"text": "one"}\r\n\n{"text": "two"}'.encode())
    assert texts_of(str(tmp_path / "b.jsonl")) == ["one", "two"]


@pytest.mark.parametrize(
    ("sample_by", "expected"),
    [("line", ["a", "b", "c"]), ("paragraph", ["a\nb", "c"]), ("document", ["a\nb\n\n\nc\n"])],
)
def test_a_text_file_is_cut_into_documents_as_one_wishes(sample_by: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\nb\n\n\nc\n", encoding="utf-8")
    assert texts_of(str(tmp_path / "a.txt"), Reading("text", False, sample_by)) == expected


def test_files_are_found_by_name_glob_directory_and_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".hidden").mkdir()
    files = [write(tmp_path, "txt", ["x"], name) for name in ("a", "b", "deep/c", ".hidden/d")]
    (tmp_path / "README.md").write_text("no text of ours", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_files("a.txt", "k") == [files[0]]
    assert find_files("*.txt", "k") == files[:2]
    assert find_files("~/a.txt", "k") == [files[0]]
    assert find_files(".", "k") == files[:3]
    assert find_files(["b.txt", "a.txt", "*.txt"], "k") == files[:2]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("none*.txt", r"dataset\.path is 'none\*\.txt', but no file matches"),
        ("empty", r"the directory holds no file of these kinds: \.txt, \.jsonl, \.csv, \.parquet"),
        ("mixed", r"several kinds, such as .*a\.(txt|csv) and .*a\.(txt|csv)"),
        ("a.json", r"a\.json is of an unknown kind.*'\.jsonl'"),
    ],
)
def test_files_that_are_not_there_or_not_alike(
    path: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("empty", "mixed"):
        (tmp_path / name).mkdir()
    write(tmp_path / "mixed", "txt", ["x"])
    write(tmp_path / "mixed", "csv", ["x"])
    (tmp_path / "a.json").write_text("[]", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=words):
        find_files(path, "dataset.path")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "x"}\n\n{"text": "y"\n', r"a\.jsonl, row 3: not a line of JSON: .*'\{\"text\": \"y\"'"),
        ("a.jsonl", b'{"text": "x"}\n["y"]\n', r"a\.jsonl, row 2: .*no JSON object"),
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}\n', r"a\.jsonl, row 2: there is no column 'text', only 'txt'"),
        ("a.jsonl", b'{"text": "x"}\n{"text": 7}\n', r"a\.jsonl, row 2: column 'text' holds 7 \(int\), expected text"),
        ("a.jsonl", b'{"text": null}\n', r"a\.jsonl, row 1: column 'text' holds nothing, expected text"),
        ("a.jsonl", b'{"text": "x"}\n{"text": "\xe4"}\n', r"a\.jsonl, row 2: not UTF-8: byte 0xe4 at place 10.*iconv"),
        ("a.txt", b"x\ny\n\xff\n", r"a\.txt, row 3: not UTF-8: byte 0xff"),
        ("a.csv", b"text,id\nx,1\n\xff,2\n", r"a\.csv, row 2: not UTF-8"),
        ("a.csv", b"txt,id\nx,1\n", r"a\.csv has no column 'text'; it has 'txt', 'id'. Did you mean 'txt'\?"),
        ("a.csv", b"text,id\nx,1\ny\n", r"a\.csv, row 2 \(line 3\): 1 fields, but the header has 2: text, id"),
        ("a.csv", b'text,id\nx,1\n"y" z,1\n', r"a\.csv, row 2 \(line 3\): not CSV"),
        ("a.csv", b"", r"a\.csv is empty: expected a table with a column 'text'"),
        ("a.csv", b"a,b\nx,1\n", r"it has 'a', 'b'\. Set dataset"),
        ("a.txt", "one\n".encode("utf-16"), r"a\.txt, row 1: not UTF-8.*iconv -f utf-16 "),
        ("a.parquet", b"PAR1 no", r"a\.parquet cannot be read as parquet.*[^.]\. Make it again"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        texts_of(str(tmp_path / name))


def test_a_table_without_the_column_or_without_text(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"texts": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet has no column 'text'; it has 'texts'. Did you mean 'texts'"):
        texts_of(str(tmp_path / "a.parquet"))
    pyarrow.parquet.write_table(pyarrow.table({"text": [None, "x"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet, row 1: column 'text' holds nothing"):
        texts_of(str(tmp_path / "b.parquet"))


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "parquet"])
def test_a_file_that_is_gone_meanwhile(kind: str, tmp_path: Path) -> None:
    source = FileSource(str(write(tmp_path, kind, ["x"])), HOW)
    os.remove(tmp_path / f"a.{kind}")
    with pytest.raises(DataError, match=rf"a\.{kind} cannot be read"):
        list(source.records())


def test_passes_have_orders_of_their_own(tmp_path: Path) -> None:
    for name in "abcdefgh":
        write(tmp_path, "txt", [f"{name}1", f"{name}2"], name)
    source = FileSource(str(tmp_path), HOW)
    first, second = (list(source.records(shuffle=seed)) for seed in (1, 2))
    assert [r.place for r in first] != [r.place for r in second]
    assert (
        sorted(r.place for r in first) == sorted(r.place for r in second) == sorted(r.place for r in source.records())
    )
    rest = list(source.records(first[4].after, shuffle=1))
    assert [r.place for r in rest] == [r.place for r in first[5:]]
