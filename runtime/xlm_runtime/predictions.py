"""Prediction rows: JSON lines under ``<run_dir>/predictions/<split>/``, and what can be read off them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from xlm_runtime.errors import DataError
from xlm_runtime.files import write_text

Row = dict[str, Any]

_EXPECTED = (
    'Expected a JSON object a line, such as {"text": "...", "truth": "..."}: a file that job_type=eval or '
    "job_type=generate has written. Write it anew, or mend that line."
)


def rows_file(run_dir: Path, split: str, step: int, label: str | None = None) -> Path:
    """Where the rows of ``split`` made at optimizer step ``step`` are kept, beside those with another label."""
    return run_dir / "predictions" / split / f"step={step}{suffix(label)}.jsonl"


def fingerprint(file: Path) -> str:
    """Tells the rows of a file from others that may come to stand under its name."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


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
    """The rows of a file that ``write_rows`` wrote, or that somebody else did.

    Raises:
        DataError: it cannot be read, is no UTF-8, or a line of it is no JSON object; names the line.
    """
    try:
        text = file.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{file} does not exist. Name a file that job_type=eval or generate has written.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}. {_EXPECTED}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 (byte {error.start}). {_EXPECTED}") from error
    rows: list[Row] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{file}, line {number}: not valid JSON ({error}). {_EXPECTED}") from error
        if not isinstance(row, dict):
            raise DataError(f"{file}, line {number}: found {_shown(row)}. {_EXPECTED}")
        rows.append(row)
    return rows


def _shown(value: Any) -> str:
    return f"a {type(value).__name__}, {json.dumps(value)[:40]}"


def exact_match(rows: Sequence[Row]) -> float | None:
    """The share of rows whose ``text`` equals their ``truth``; None where no row has both."""
    judged = [row["text"] == row["truth"] for row in rows if row.get("truth") is not None and "text" in row]
    return sum(judged) / len(judged) if judged else None
