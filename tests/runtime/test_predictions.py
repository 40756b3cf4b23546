"""Prediction rows: JSON lines, and what is read off them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from xlm_runtime.errors import DataError
from xlm_runtime.predictions import exact_match, read_rows, rows_file, write_rows

ROWS = [
    {"text": "1 2", "truth": None, "ids": [1, 2], "score": -0.5, "ok": True},
    {"text": 'größer → \u2028 "q" \n', "truth": "", "nested": {"a": [1, {"b": None}]}},
]


def test_rows_survive_a_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "rows.jsonl"
    write_rows(file, ROWS)
    assert read_rows(file) == ROWS


def test_each_row_is_one_line_of_json_in_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_rows(file, ROWS)
    text = file.read_bytes().decode("utf-8")
    assert text.endswith("\n")
    assert [json.loads(line) for line in text[:-1].split("\n")] == ROWS
    assert "größer" in text


def test_no_rows_are_an_empty_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [])
    assert read_rows(tmp_path / "rows.jsonl") == []


def test_rows_replace_those_of_an_earlier_call(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    write_rows(tmp_path / "rows.jsonl", ROWS[:1])
    assert read_rows(tmp_path / "rows.jsonl") == ROWS[:1]


def test_a_row_that_json_cannot_say_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_rows(file, ROWS)
    with pytest.raises(DataError, match=r"to_dict.*Tensor.*tolist"):
        write_rows(file, [{"text": "fine"}, {"text": "bad", "ids": torch.tensor([1])}])
    assert read_rows(file) == ROWS
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_file_bears_its_split_and_step(tmp_path: Path) -> None:
    assert rows_file(tmp_path, "val", 500) == tmp_path / "predictions" / "val" / "step=500.jsonl"


def test_exact_match_is_over_the_rows_that_know_their_truth() -> None:
    rows = [
        {"text": "a", "truth": "a"},
        {"text": "a", "truth": "b"},
        {"text": "", "truth": ""},
        {"text": "a", "truth": None},
        {"text": "a"},
    ]
    assert exact_match(rows) == pytest.approx(2 / 3)


def test_without_any_truth_there_is_no_exact_match() -> None:
    assert exact_match([{"text": "a", "truth": None}, {"text": "b"}]) is None
    assert exact_match([]) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a"}\n{"text": \n', r"rows.jsonl, line 2: not valid JSON .*Expected a JSON object a line"),
        (b'{"text": "a"}\n\n[1, 2]\n', r"rows.jsonl, line 3: found a list, \[1, 2\]"),
        (b'{"text": "caf\xe9"}\n', r"rows.jsonl is not UTF-8 \(byte 13\)"),
    ],
)
def test_a_file_that_is_no_rows_is_told_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl does not exist"):
        read_rows(tmp_path / "none.jsonl")
