"""The directory of a run: what it holds, whether a new command may continue it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from xlm_runtime.config_source import check_file
from xlm_runtime.errors import CheckpointError, did_you_mean
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
    if run_dir.exists() and not run_dir.is_dir():
        raise CheckpointError(f"{run_dir} is a file, not the directory of a run. Choose another job_name or run_dir.")
    if not cfg.resume and run_dir.exists() and any(run_dir.iterdir()):
        raise CheckpointError(
            f"resume=false, but {run_dir} is not empty, and nothing is overwritten. "
            "Choose another job_name, remove the directory, or leave resume=false out to continue that run."
        )
    from xlm_runtime import checkpoint  # imports torch, which a run that is only looked for does not need

    last = checkpoint.find(run_dir, ("last",))
    saved_file = run_dir / CONFIG
    if checkpoint.find(run_dir) is None or not saved_file.is_file():
        return last
    saved = read_config(saved_file)
    current: Any = OmegaConf.to_container(cfg, resolve=False)
    # A tokenizer's size may be interpolated from the dataset, which for itself may change.
    saved["tokenizer"], current["tokenizer"] = _tokenizer(OmegaConf.create(saved)), _tokenizer(cfg)
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


def missing_run(run_dir: Path) -> CheckpointError:
    """That ``run_dir`` holds no run; names those that stand beside it."""
    runs = sorted(file.parent.name for file in run_dir.parent.glob(f"*/{CONFIG}"))
    return CheckpointError(
        f"There is no run in {run_dir} (no {CONFIG}). {did_you_mean(run_dir.name, runs)}\n"
        f"Runs in {run_dir.parent}: {', '.join(runs) or 'none'}. "
        "Give job_name=<one of these>, or ckpt_path=<file>, or train first."
    )


@contextmanager
def removed_if_it_never_ran(run_dir: Path, started: Callable[[], bool]) -> Iterator[None]:
    """A new run that fails before its first step leaves no directory behind: there is nothing in it to keep."""
    new = [directory for directory in (run_dir, *run_dir.parents) if not directory.exists()]
    try:
        yield
    except BaseException:
        if run_dir in new and not started():
            shutil.rmtree(run_dir, ignore_errors=True)
            with suppress(OSError):  # another run has come into it meanwhile
                for parent in new[1:]:
                    parent.rmdir()
        raise


def save_config(run_dir: Path, cfg: DictConfig) -> None:
    """Write ``config.yaml``, interpolations kept: an override of a later job then reaches what depends on it.

    Raises:
        CheckpointError: nothing can be written there.
    """
    try:
        write_text(run_dir / CONFIG, OmegaConf.to_yaml(cfg))
    except OSError as error:
        raise CheckpointError(
            f"Cannot write {run_dir / CONFIG}: {error.strerror or error}. A run writes into run_dir: set it to a "
            "directory in which you may create files, or choose another job_name."
        ) from error


def read_config(file: Path) -> dict[str, Any]:
    """What ``save_config`` wrote.

    Raises:
        ConfigSyntaxError: no YAML any more; file and line.
        CheckpointError: nothing of a run's configuration in it.
    """
    check_file(file)
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if "model" not in content:
        raise CheckpointError(
            f"{file} {'has no model in it' if content else 'is empty'}: it is not the configuration of a run. "
            "Its checkpoints carry a copy: give ckpt_path=<file> instead, or remove the run and train again."
        )
    return dict(content)


def _tokenizer(cfg: DictConfig) -> Any:
    node = OmegaConf.select(cfg, "tokenizer")
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_dict(node) else node


def _differences(old: Any, new: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in dict.fromkeys([*old, *new])
            for found in _differences(old.get(key), new.get(key), f"{prefix}{key}.")
        ]
    # A missing value ("???") is filled in by the job itself.
    return [] if old == new or new == "???" else [(prefix[:-1], f"{prefix[:-1]}: {old} -> {new}")]
