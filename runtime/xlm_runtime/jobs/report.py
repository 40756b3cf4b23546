"""``job_type=report``: make the report of a run's directory again, also of a run that died."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from xlm_runtime.errors import CheckpointError
from xlm_runtime.report.run_files import is_run
from xlm_runtime.report.run_report import write_report
from xlm_runtime.runs import missing_run


def run(cfg: DictConfig) -> Path:
    """Write ``report.html`` of ``run_dir``, and say where it is. Imports no torch: the files are all it needs."""
    run_dir = Path(cfg.run_dir)
    if not run_dir.is_dir() or not is_run(run_dir):
        raise missing_run(run_dir)
    try:
        file = write_report(run_dir)
    except OSError as error:
        raise CheckpointError(
            f"Cannot write the report into {run_dir}: {error.strerror or error}. Expected a directory in which you may "
            "create files: copy the run to one, and give run_dir=<copy>."
        ) from error
    print(f"report: {file}")
    return file
