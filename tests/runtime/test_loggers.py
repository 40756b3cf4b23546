"""metrics.csv: a row a step, whole after every row, continued and never begun anew."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from xlm_runtime.loggers import MetricsCSV


def read(path: Path) -> list[dict[str, str]]:
    """Rows without their empty cells."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(stream)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics.csv"


def first_run(path: Path) -> None:
    logger = MetricsCSV(str(path))
    for step in (9, 19, 29, 39):
        logger.log_metrics({"train/loss": step / 8}, step)


def test_each_row_is_in_the_file_as_soon_as_it_is_logged(path: Path) -> None:
    logger = MetricsCSV(str(path))
    logger.log_metrics({"train/loss": 2.5, "train/lr": 0.001}, 9)
    assert read(path) == [{"step": "10", "train/loss": "2.5", "train/lr": "0.001"}]
    logger.log_metrics({"train/loss": 1.5, "train/lr": 0.001}, 19)
    assert [row["step"] for row in read(path)] == ["10", "20"]


def test_metrics_of_one_step_share_a_row(path: Path) -> None:
    logger = MetricsCSV(str(path))
    logger.log_metrics({"train/loss": 2.0}, 9)
    logger.log_metrics({"val/loss": 3.0}, 9)
    logger.log_metrics({"train/loss": 1.0}, 19)
    logger.log_metrics({"val/loss": 2.0}, 19)
    assert read(path) == [
        {"step": "10", "train/loss": "2", "val/loss": "3"},
        {"step": "20", "train/loss": "1", "val/loss": "2"},
    ]


def test_a_new_column_leaves_the_earlier_rows_empty_there(path: Path) -> None:
    logger = MetricsCSV(str(path))
    logger.log_metrics({"train/loss": 2.0}, 9)
    logger.log_metrics({"val/loss": 3.0}, 19)
    logger.log_metrics({"train/loss": 1.0}, 29)
    assert path.read_text(encoding="utf-8").splitlines() == ["step,train/loss,val/loss", "10,2,", "20,,3", "30,1,"]


def test_values_keep_the_precision_of_float32(path: Path) -> None:
    MetricsCSV(str(path)).log_metrics({"a": 0.123456789, "b": 1.5e-12, "c": float("nan"), "d": float("inf")}, 0)
    (row,) = read(path)
    assert float(row["a"]) == pytest.approx(0.123456789, rel=1e-8)
    assert float(row["b"]) == 1.5e-12
    assert (row["c"], row["d"]) == ("nan", "inf")


def test_lightnings_epoch_is_no_column(path: Path) -> None:
    MetricsCSV(str(path)).log_metrics({"train/loss": 1.0, "epoch": 3}, 9)
    assert read(path) == [{"step": "10", "train/loss": "1"}]


def test_nothing_is_written_before_the_first_row(path: Path) -> None:
    MetricsCSV(str(path)).log_hyperparams({"seed": 1})
    assert not path.parent.exists()


# -- continued runs ----------------------------------------------------------------------------------------


def test_a_continued_run_appends(path: Path) -> None:
    first_run(path)
    before = path.read_text(encoding="utf-8")
    MetricsCSV(str(path)).log_metrics({"train/loss": 0.5}, 49)
    assert path.read_text(encoding="utf-8") == before + "50,0.5\n"


def test_rows_from_the_first_new_step_on_are_dropped(path: Path) -> None:
    # The first run reached step 39, but its last checkpoint was at step 20: steps 20 to 39 are made again.
    first_run(path)
    logger = MetricsCSV(str(path))
    logger.log_metrics({"train/loss": 100.0}, 29)
    assert [row["train/loss"] for row in read(path)] == ["1.125", "2.375", "100"]
    logger.log_metrics({"train/loss": 101.0}, 39)
    assert [row["step"] for row in read(path)] == ["10", "20", "30", "40"]
    assert [row["train/loss"] for row in read(path)] == ["1.125", "2.375", "100", "101"]


def test_a_continued_run_may_bring_new_columns_and_lack_old_ones(path: Path) -> None:
    first_run(path)
    logger = MetricsCSV(str(path))
    logger.log_metrics({"val/loss": 7.0}, 39)
    logger.log_metrics({"train/loss": 6.0}, 49)
    assert read(path) == [
        {"step": "10", "train/loss": "1.125"},
        {"step": "20", "train/loss": "2.375"},
        {"step": "30", "train/loss": "3.625"},
        {"step": "40", "val/loss": "7"},
        {"step": "50", "train/loss": "6"},
    ]


LAST = "149,18.625,0.0001\n"


@pytest.mark.parametrize("kept", [1, 2, 3, 4, 6, 11, 15])
def test_a_last_line_that_a_killed_process_left_half_written_is_no_row(path: Path, kept: int) -> None:
    # Wherever it was cut: "14" would be another step, "149,18" another loss.
    whole = "step,train/loss,train/lr\n49,6.125,0.001\n99,12.375,0.001\n"
    path.parent.mkdir()
    path.write_text(whole + LAST[:kept], encoding="utf-8")
    MetricsCSV(str(path)).log_metrics({"train/loss": 0.5, "train/lr": 0.25}, 199)
    assert path.read_text(encoding="utf-8") == whole + "200,0.5,0.25\n"


@pytest.mark.parametrize("content", ["", "step,train", "step,train/loss\n"])
def test_a_file_without_a_whole_row_is_begun_anew(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    MetricsCSV(str(path)).log_metrics({"train/loss": 0.5}, 9)
    assert path.read_text(encoding="utf-8") == "step,train/loss\n10,0.5\n"
