"""``job_type=export``: a saved model as a folder that others can load."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from xlm_runtime.errors import ConfigError
from xlm_runtime.exporting import check_new, write_folder
from xlm_runtime.generation import examples_of
from xlm_runtime.jobs._quiet import quiet
from xlm_runtime.report.run_report import report_of_run
from xlm_runtime.saved import load_run


def run(cfg: DictConfig) -> Path:
    """Write ``export_dir``; it must not exist."""
    quiet()
    if not cfg.export_dir:
        raise ConfigError("export_dir is null; expected the folder that is to be made: export_dir=exports/my_model.")
    folder = Path(cfg.export_dir)
    check_new(folder)
    saved = load_run(cfg, examples_of(cfg, ()))
    write_folder(cfg, saved, folder)
    print(
        f"exported {saved.path} (step {saved.step}) to {folder}: {', '.join(sorted(f.name for f in folder.iterdir()))}"
    )
    report_of_run(Path(cfg.run_dir))
    return folder
