"""``job_type=eval``: every metric of a saved run on a split."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from xlm_runtime.errors import XlmError
from xlm_runtime.evaluation import ALWAYS, build_evaluators, evaluate, lines, settings, with_intervals
from xlm_runtime.faults import plain_memory_faults
from xlm_runtime.jobs._quiet import quiet
from xlm_runtime.metrics import LoaderKind
from xlm_runtime.metrics_file import Entry, Number, read_metrics, update_metrics
from xlm_runtime.predictions import Row, fingerprint, read_rows, rows_file, suffix
from xlm_runtime.provenance import describe
from xlm_runtime.report.run_report import report_after
from xlm_runtime.saved import SavedRun, load_run
from xlm_runtime.trainer import plain_exits
from xlm_runtime.weights import check_own_directory, weights_fingerprint


def run(cfg: DictConfig) -> dict[str, float]:
    """Print every metric by name; keep them in ``metrics.json`` and ``metrics-<split>.json``, and the rows beside them.

    What ``evaluators`` names comes last: if one fails, all others and the rows are written already.
    """
    quiet()
    run_dir, split, label = Path(cfg.run_dir), str(cfg.split), cfg.get("label")
    name = f"{split}{suffix(label)}"
    read_metrics(run_dir)  # before there is work to lose
    evaluators = build_evaluators(cfg)
    saved = load_run(cfg)
    check_own_directory(saved.parts.harness, saved.path, run_dir)
    weights = weights_fingerprint(saved.parts.harness)
    print(f"evaluating {saved.path} (step {saved.step}) on {split}", flush=True)
    file = rows_file(run_dir, split, saved.step, label)
    numbers, rows = _measured(cfg, saved, file)
    entry: Entry = {
        "split": split,
        "label": label,
        "step": saved.step,
        "checkpoint": str(saved.path),
        "weights": weights,
        "rows": len(rows) if rows is not None else None,
        "predictions": file.relative_to(run_dir).as_posix() if rows is not None else None,
        "fingerprint": fingerprint(file) if rows is not None else None,
        **describe(cfg),
        "evaluators": {},
        "metrics": {key: number.as_json() for key, number in numbers.items()},
    }
    update_metrics(run_dir, name, lambda _: entry)
    print("\n".join(lines(split, numbers)))
    if evaluators and rows is not None:
        with _rows_are_kept(file):
            found = evaluate(evaluators, rows)
        entry["evaluators"] = settings(cfg, list(evaluators))
        entry["metrics"] |= {key: number.as_json() for key, number in found.items()}
        update_metrics(run_dir, name, lambda _: entry)
        numbers |= found
        print("\n".join(lines(split, found)))
    print(f"metrics: {run_dir / f'metrics-{name}.json'}")
    if rows is not None:
        print(f"rows:    {file}")
    report_after(run_dir, loaded=saved.parts.cfg)
    return {f"{split}/{key}": number.value for key, number in numbers.items()}


def _measured(cfg: DictConfig, saved: SavedRun, file: Path) -> tuple[dict[str, Number], list[Row] | None]:
    """The metrics, and the rows; None where the run has no predictor."""
    harness, split = saved.parts.harness, str(cfg.split)
    harness.trained_steps, harness.label = saved.step, cfg.get("label")
    sets: Any = {kind: harness.metric_sets[split, kind] for kind in harness.eval_kinds}
    terms = {name: kept for metric_set in sets.values() for name, kept in metric_set.keep_terms().items()}
    with plain_exits(saved.trainer), plain_memory_faults(cfg, "eval_batch_size"):
        saved.trainer.test(harness, datamodule=saved.parts.datamodule, verbose=False)
    values = {name.removeprefix(f"{split}/"): float(v) for name, v in sorted(saved.trainer.callback_metrics.items())}
    means = {
        name: OmegaConf.select(cfg, f"metrics.{kind}.{name}.means")
        for kind, each in sets.items()
        for name in each.updates
    }
    numbers = with_intervals(values, terms, means)
    if LoaderKind.PREDICTION not in harness.eval_kinds:
        return numbers, None
    rows = read_rows(file)
    return numbers | evaluate(ALWAYS, rows), rows


@contextmanager
def _rows_are_kept(file: Path) -> Iterator[None]:
    try:
        yield
    except XlmError as error:
        raise type(error)(
            f"{error}\nAll else of this evaluation is written. Once the evaluator is mended, the model need not run "
            f"again: xlm job_type=evaluate_rows 'rows=\"{file}\"' 'evaluators=[...]'"
        ) from error
