"""``job_type=evaluate_rows``: evaluators over rows that are there already. No checkpoint is read, no model is made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from xlm_runtime.errors import DataError
from xlm_runtime.evaluation import ALWAYS, build_evaluators, evaluate, lines, settings
from xlm_runtime.metrics_file import Entry, read_metrics, update_metrics
from xlm_runtime.predictions import fingerprint, read_rows, suffix
from xlm_runtime.provenance import describe
from xlm_runtime.report.run_report import report_after

_NAME = re.compile(r"step=(\d+)(?:\.(.+))?\.jsonl")


@dataclass(frozen=True)
class _Rows:
    """A file of rows, and which entry of which ``metrics.json`` is about it.

    Attributes:
        file: of the rows.
        directory: of ``metrics.json``: the run's, or for a file that is no run's the one that it stands in.
        split, label, step: as the file's name has them.
        of_a_run: whether it does.
    """

    file: Path
    directory: Path
    split: str
    label: str | None
    step: int | None
    of_a_run: bool


def run(cfg: DictConfig) -> dict[str, float]:
    """Evaluate the file ``rows``, or else the newest rows of the run's split and label; print, and keep the numbers."""
    found = _of_file(Path(cfg.rows)) if cfg.rows else _newest(Path(cfg.run_dir), str(cfg.split), cfg.get("label"))
    read_metrics(found.directory)
    evaluators = build_evaluators(cfg) or dict(ALWAYS)
    names = list(evaluators) if cfg.get("evaluators") else []
    rows = read_rows(found.file)
    if not rows:
        raise DataError(
            f'{found.file} is empty. Expected a JSON object a line, such as {{"text": "..."}}: a file that '
            "job_type=eval or job_type=generate has written."
        )
    print(f"evaluating the {len(rows)} rows of {found.file}", flush=True)
    numbers = evaluate(evaluators, rows)
    predictions = found.file.relative_to(found.directory).as_posix()
    facts = {"split": found.split, "label": found.label, "step": found.step, "rows": len(rows)}
    facts |= {"predictions": predictions, "fingerprint": fingerprint(found.file), **describe(cfg, model=False)}

    def change(entry: Entry) -> Entry:
        # Numbers of other rows would stand beside these as if they were of the same.
        same = entry if entry.get("fingerprint") == facts["fingerprint"] else {}
        kept = {key: n for key, n in same.get("metrics", {}).items() if key.partition("/")[0] not in evaluators}
        return {
            **facts,
            **same,
            "evaluators": same.get("evaluators", {}) | settings(cfg, names),
            "metrics": kept | {key: number.as_json() for key, number in numbers.items()},
        }

    name = f"{found.split}{suffix(found.label)}"
    file = update_metrics(found.directory, name, change, flat=found.of_a_run)
    print("\n".join(lines(found.split, numbers)))
    print(f"metrics: {file}")
    if found.of_a_run:
        report_after(found.directory)
    return {f"{found.split}/{key}": number.value for key, number in numbers.items()}


def _of_file(file: Path) -> _Rows:
    named = _NAME.fullmatch(file.name)
    place = file if len(file.parents) > 3 else file.absolute()
    if named and place.parents[1].name == "predictions":
        return _Rows(place, place.parents[2], place.parent.name, named[2], int(named[1]), True)
    return _Rows(file, file.parent, file.stem, None, None, False)


def _newest(run_dir: Path, split: str, label: str | None) -> _Rows:
    known = sorted((run_dir / "predictions").glob("*/step=*.jsonl"))
    steps = {
        int(match[1]): f
        for f in known
        if f.parent.name == split and (match := _NAME.fullmatch(f.name)) and (match[2] or "") == suffix(label)[1:]
    }
    if not steps:
        there = ", ".join(file.as_posix() for file in known[:8]) + (" …" if len(known) > 8 else "")
        raise DataError(
            f"{run_dir} has no rows of split={split}{f' label={label}' if label else ''}. Rows that are there: "
            f"{there or 'none'}. Make them by job_type=eval or job_type=generate, or name a file: rows=<file>."
        )
    return _Rows(steps[max(steps)], run_dir, split, label, max(steps), True)
