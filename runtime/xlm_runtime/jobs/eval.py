"""``job_type=eval``: every metric of a saved run on a split."""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import DictConfig

from xlm_runtime.faults import plain_memory_faults
from xlm_runtime.files import write_text
from xlm_runtime.jobs._quiet import quiet
from xlm_runtime.predictions import rows_file, suffix
from xlm_runtime.report.run_report import report_after
from xlm_runtime.saved import load_run
from xlm_runtime.trainer import plain_exits


def run(cfg: DictConfig) -> dict[str, float]:
    """Print every metric by name; keep them in ``metrics-<split>.json`` and the rows beside them."""
    quiet()
    saved = load_run(cfg)
    print(f"evaluating {saved.path} (step {saved.step}) on {cfg.split}", flush=True)
    harness = saved.parts.harness
    harness.trained_steps, harness.label = saved.step, cfg.get("label")
    with plain_exits(saved.trainer), plain_memory_faults(cfg, "eval_batch_size"):
        saved.trainer.test(harness, datamodule=saved.parts.datamodule, verbose=False)
    metrics = {name: float(value) for name, value in sorted(saved.trainer.callback_metrics.items())}
    file = Path(cfg.run_dir) / f"metrics-{cfg.split}{suffix(harness.label)}.json"
    write_text(file, json.dumps({"checkpoint": str(saved.path), "step": saved.step, **metrics}, indent=2) + "\n")
    width = max((len(name) for name in metrics), default=0)
    for name, value in metrics.items():
        print(f"  {name:<{width}}  {value:.6g}")
    print(f"metrics: {file}\nrows:    {rows_file(Path(cfg.run_dir), cfg.split, saved.step, harness.label)}")
    report_after(Path(cfg.run_dir))
    return metrics
