"""``metrics.json``: what is known of a run's predictions, by split and label, with where each number comes from.

    {"test": {"split": "test", "label": null, "step": 175, "checkpoint": "...", "weights": "...", "rows": 64,
              "predictions": "...", "seed": 42, "date": "...", "commit": {...}, "versions": {...}, "overrides": [...],
              "evaluators": {...},
              "metrics": {"exact_match": {"value": 1.0, "low": 0.94, "high": 1.0, "method": "wilson", "unit": "rows",
                                          "count": 64, "means": null}}}}

``metrics-<split>.json`` beside it holds the values alone, by ``<split>/<metric>``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xlm_runtime.errors import DataError
from xlm_runtime.files import write_text
from xlm_runtime.report.intervals import Estimate

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

FILE = "metrics.json"

Entry = dict[str, Any]


@dataclass(frozen=True)
class Number:
    """One metric.

    Attributes:
        value: of it.
        estimate: its interval, where it has one.
        means: a few words on what it is.
    """

    value: float
    estimate: Estimate | None = None
    means: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What ``metrics.json`` holds of it; JSON has no word for what is not finite but null."""
        interval = asdict(self.estimate) if self.estimate is not None else {}
        return {**interval, "value": self.value if math.isfinite(self.value) else None, "means": self.means}


def read_metrics(directory: Path) -> dict[str, Entry]:
    """What ``metrics.json`` holds; empty if there is none.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    file = directory / FILE
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(file, str(error)) from error
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise _unreadable(file, f"found {json.dumps(content)[:60]}")
    return content


def update_metrics(directory: Path, name: str, change: Callable[[Entry], Entry], flat: bool = True) -> Path:
    """Change one entry, and leave all others as they are, also if another process writes at the same time.

    Args:
        directory: of the run.
        name: of the entry: the split, and the label if there is one.
        change: from the entry as it stands, empty if there is none, to the new one.
        flat: write ``metrics-<name>.json`` too.

    Returns:
        Where ``metrics.json`` is.

    Raises:
        DataError: it cannot be read or written; then nothing is.
    """
    file = directory / FILE
    try:
        with _alone(directory):
            content = read_metrics(directory)
            entry = content[name] = change(content.get(name, {}))
            if flat:
                write_text(directory / f"metrics-{name}.json", json.dumps(_flat(entry), indent=2) + "\n")
            write_text(file, json.dumps(content, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise DataError(
            f"Cannot write {file}: {error.strerror or error}. Expected a directory in which you may create files: make "
            "room or give yourself the right, or copy what is in it elsewhere."
        ) from error
    return file


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    values = {f"{entry['split']}/{name}": number["value"] for name, number in sorted(entry["metrics"].items())}
    return {"checkpoint": entry.get("checkpoint"), "step": entry.get("step"), **values}


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(directory, os.O_RDONLY)  # the directory itself: no file is left behind
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _unreadable(file: Path, found: str) -> DataError:
    return DataError(
        f"{file} cannot be read: {found}. Expected what job_type=eval has written: an object with an object a split. "
        "Mend it, or move it away; then run this again."
    )
