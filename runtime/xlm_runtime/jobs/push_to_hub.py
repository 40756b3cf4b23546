"""``job_type=push_to_hub``: a saved model to the Hugging Face hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from omegaconf import DictConfig

from xlm_runtime import hub
from xlm_runtime.exporting import write_folder
from xlm_runtime.generation import examples_of
from xlm_runtime.jobs._quiet import quiet
from xlm_runtime.report.run_report import report_of_run
from xlm_runtime.saved import load_run


def run(cfg: DictConfig) -> str:
    """Export to a temporary folder, and upload that to ``repo_id``, which must not exist yet."""
    quiet()
    repo_id, private = cfg.repo_id, cfg.private
    hub.check_repo_id(repo_id, f"repo_id is {repo_id!r}", "user/name, the name on the hub: repo_id=user/name")
    saved = load_run(cfg, examples_of(cfg, ()))
    with tempfile.TemporaryDirectory(prefix="xlm-") as directory:
        folder = Path(directory) / "export"
        write_folder(cfg, saved, folder, repo_id)
        url = hub.push(folder, repo_id, private)
    print(f"pushed {saved.path} (step {saved.step}) to {url} ({'private' if private else 'public'})")
    report_of_run(Path(cfg.run_dir))
    return url
