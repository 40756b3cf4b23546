"""metrics.csv: one row a step, a column a metric, appended to when a run continues."""

from __future__ import annotations

import csv
import io
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from xlm_runtime.files import write_text


class MetricsCSV(Logger):
    """Writes scalars to ``path``.

    Lightning's own CSV logger deletes the file of an earlier run in the same directory, which is what a
    continued run must not do. Rows after the step that a run continues from are dropped when the first
    new row arrives: they belong to steps that are made again.

    Args:
        path: the CSV file; made with the first row.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)
        self._rows: list[dict[str, str]] | None = None
        self._columns = ["step"]

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Path:
        return self.path

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The configuration has its own file, config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log scalars of a step, which Lightning counts from 0; the file says how many steps were finished then."""
        step = 0 if step is None else step + 1
        if self._rows is None:
            self._rows = [row for row in self._read() if int(row["step"]) < step]
            self._columns = list(dict.fromkeys(["step", *(key for row in self._rows for key in row)]))
            self._write()
        values = {name: f"{float(value):.9g}" for name, value in metrics.items() if name != "epoch"}
        new_columns = [name for name in values if name not in self._columns]
        if self._rows and int(self._rows[-1]["step"]) == step:
            self._rows[-1].update(values)
        else:
            self._rows.append({"step": str(step), **values})
            if not new_columns:
                with self.path.open("a", encoding="utf-8", newline="") as stream:
                    csv.DictWriter(stream, self._columns, restval="", lineterminator="\n").writerow(self._rows[-1])
                return
        self._columns += new_columns
        self._write()

    def _read(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        # A killed process may leave half a last line: what no line break ends is no row.
        whole_lines = self.path.read_text(encoding="utf-8").rpartition("\n")[0]
        return [
            {key: value for key, value in row.items() if value}
            for row in csv.DictReader(whole_lines.splitlines())
            if (row.get("step") or "").isdigit()
        ]

    def _write(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows or [])
        write_text(self.path, text.getvalue())
