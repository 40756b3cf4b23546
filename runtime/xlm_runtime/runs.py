"""The directory of a run: what it holds, whether a new command may continue it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from xlm_runtime import checkpoint
from xlm_runtime.errors import CheckpointError
from xlm_runtime.files import write_text

CONFIG = "config.yaml"

#: A checkpoint fits only the same model over the same vocabulary.
FIXED = ("model", "tokenizer", "vocab")


def open_run(run_dir: Path, cfg: DictConfig) -> Path | None:
    """Check that ``cfg`` may run in ``run_dir``; nothing is written.

    Returns:
        The checkpoint to continue from, or None for a run that starts.

    Raises:
        CheckpointError: ``resume=false`` with a directory that is not empty, or a saved run that this
            configuration cannot continue: another model or tokenizer.
    """
    if not cfg.resume and run_dir.exists() and any(run_dir.iterdir()):
        raise CheckpointError(
            f"resume=false, but {run_dir} is not empty, and nothing is overwritten. "
            "Choose another job_name, remove the directory, or leave resume=false out to continue that run."
        )
    last = checkpoint.find(run_dir, ("last",))
    saved_file = run_dir / CONFIG
    if last is None or not saved_file.is_file():
        return last
    saved = yaml.safe_load(saved_file.read_text(encoding="utf-8"))
    current = OmegaConf.to_container(cfg, resolve=False)
    changed = list(_differences(saved, current))
    fixed = [line for key, line in changed if key.split(".")[0] in FIXED]
    if fixed:
        raise CheckpointError(
            f"{run_dir} holds a run of another model or tokenizer, which this configuration cannot continue:\n  "
            + "\n  ".join(fixed[:8])
            + "\nChoose another job_name, or give the settings of the saved run."
        )
    for _, line in changed:
        print(f"changed since the run began: {line}")
    return last


def save_config(run_dir: Path, cfg: DictConfig) -> None:
    """Write ``config.yaml``, interpolations kept: an override of a later job then reaches what depends on it."""
    write_text(run_dir / CONFIG, OmegaConf.to_yaml(cfg))


def _differences(old: Any, new: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in dict.fromkeys([*old, *new])
            for found in _differences(old.get(key), new.get(key), f"{prefix}{key}.")
        ]
    # A missing value ("???") is filled in by the job itself.
    return [] if old == new or new == "???" else [(prefix[:-1], f"{prefix[:-1]}: {old} -> {new}")]
