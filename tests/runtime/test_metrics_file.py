"""metrics.json: one entry a split and label, whole or as it was."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from xlm_runtime.errors import DataError
from xlm_runtime.metrics_file import Entry, Number, read_metrics, update_metrics
from xlm_runtime.report.intervals import wilson
from xlm_runtime.report.run_files import read_run
from xlm_runtime.report.run_report import intervals, write_report


def entry(split: str = "test", step: int = 2, **numbers: Number) -> Entry:
    metrics = {name: number.as_json() for name, number in numbers.items()}
    return {"split": split, "step": step, "checkpoint": "best.ckpt", "metrics": metrics}


def update(directory: Path, name: str, made: Entry) -> None:
    update_metrics(directory, name, lambda _: made)


def test_splits_and_labels_stand_side_by_side(tmp_path: Path) -> None:
    update(tmp_path, "test", entry(a=Number(1.0)))
    update(tmp_path, "val.seed=1", entry("val", b=Number(2.0)))
    update(tmp_path, "test", entry(c=Number(3.0, means="exact")))
    found = read_metrics(tmp_path)
    assert list(found) == ["test", "val.seed=1"]
    assert found["test"]["metrics"] == {"c": {"value": 3.0, "means": "exact"}}
    assert json.loads((tmp_path / "metrics-val.seed=1.json").read_text(encoding="utf-8")) == {
        "checkpoint": "best.ckpt",
        "step": 2,
        "val/b": 2.0,
    }


def test_the_report_has_the_intervals_of_the_same_step(tmp_path: Path) -> None:
    update(tmp_path, "test", entry(exact_match=Number(0.8, wilson(8, 10)), loss=Number(0.3)))
    (found,) = read_run(tmp_path).metrics
    assert intervals(found, []) == {"exact_match": wilson(8, 10)}
    assert "0.4902 – 0.9433" in write_report(tmp_path).read_text(encoding="utf-8")
    flat = tmp_path / "metrics-test.json"
    flat.write_text(flat.read_text(encoding="utf-8").replace('"step": 2', '"step": 3'), encoding="utf-8")
    (found,) = read_run(tmp_path).metrics
    assert intervals(found, []) == {}


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    update(tmp_path, "test", entry(loss=Number(float("nan"))))
    assert read_metrics(tmp_path)["test"]["metrics"]["loss"]["value"] is None


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"test": 1}'])
def test_a_broken_file_is_told_and_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"metrics.json cannot be read: .*move it away"):
        update(tmp_path, "test", entry())
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert (tmp_path / "metrics.json").read_text(encoding="utf-8") == content


def test_a_change_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    update(tmp_path, "test", entry(a=Number(1.0)))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KeyError):
        update_metrics(tmp_path, "test", lambda old: {**old, "metrics": {}}["missing"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_two_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    def write(number: int) -> None:
        update(tmp_path, f"test.{number}", entry(a=Number(number)))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_metrics(tmp_path)) == 12
