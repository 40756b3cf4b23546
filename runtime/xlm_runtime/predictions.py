"""Prediction rows: JSON lines under ``<run_dir>/predictions/<split>/``, and what can be read off them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from xlm_runtime.errors import DataError
from xlm_runtime.files import write_text

Row = dict[str, Any]


def rows_file(run_dir: Path, split: str, step: int, label: str | None = None) -> Path:
    """Where the rows of ``split`` made at optimizer step ``step`` are kept, beside those with another label."""
    return run_dir / "predictions" / split / f"step={step}{suffix(label)}.jsonl"


def suffix(label: str | None) -> str:
    """What a label adds to a file's name."""
    return f".{label.replace('/', '_')}" if label else ""


def write_rows(file: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object a line, atomically.

    Raises:
        DataError: a row holds something that JSON cannot say (a tensor, for example).
    """
    try:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    except TypeError as error:
        raise DataError(
            f"Predictor.to_dict returned a row that is not JSON-serialisable: {error}. "
            "Rows may hold strings, numbers, booleans, None, lists and dicts: use tensor.tolist() or .item()."
        ) from error
    write_text(file, text)


def read_rows(file: Path) -> list[Row]:
    """The rows of a file that ``write_rows`` wrote."""
    with file.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def exact_match(rows: Sequence[Row]) -> float | None:
    """The share of rows whose ``text`` equals their ``truth``; None where no row has both."""
    judged = [row["text"] == row["truth"] for row in rows if row.get("truth") is not None and "text" in row]
    return sum(judged) / len(judged) if judged else None
