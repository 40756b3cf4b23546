"""The directory of a run: what it holds, whether a new command may continue it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from xlm_runtime.config_file import check_file
from xlm_runtime.errors import CheckpointError, did_you_mean
from xlm_runtime.files import write_text

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

CONFIG = "config.yaml"
LOADED = "loaded.yaml"
END = "finished.json"
LOCK = ".lock"

#: A checkpoint fits only the same model over the same vocabulary.
FIXED = ("model", "tokenizer", "vocab")


@dataclass(frozen=True)
class Opened:
    """What a command finds in its run directory.

    Attributes:
        last: the checkpoint to continue from; None for a run that starts.
        finished: how the run ended, if it has come to its end with this very configuration.
        changed: whether settings differ from those of the run.
        remarks: lines to be said: settings that have changed, a damaged checkpoint that is passed over.
    """

    last: Path | None = None
    finished: dict[str, Any] | None = None
    remarks: tuple[str, ...] = ()
    changed: bool = False


def open_run(run_dir: Path, cfg: DictConfig) -> Opened:
    """Check that ``cfg`` may run in ``run_dir``; nothing is written.

    Raises:
        CheckpointError: ``resume=false`` with a directory that is not empty, a saved run that this
            configuration cannot continue (another model or tokenizer), or no checkpoint that is whole.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise CheckpointError(f"{run_dir} is a file, not the directory of a run. Choose another job_name or run_dir.")
    if not cfg.resume and run_dir.exists() and any(run_dir.iterdir()):
        raise CheckpointError(
            f"resume=false, but {run_dir} is not empty, and nothing is overwritten. "
            "Choose another job_name, remove the directory, or leave resume=false out to continue that run."
        )
    from xlm_runtime import checkpoint  # imports torch, which a run that is only looked for does not need

    last, remark = checkpoint.to_continue_from(run_dir)
    remarks = [remark] if remark else []
    saved_file = run_dir / CONFIG
    if checkpoint.find(run_dir) is None or not saved_file.is_file():
        return Opened(last, remarks=tuple(remarks))
    saved = read_config(saved_file)
    current: Any = OmegaConf.to_container(cfg, resolve=False)
    # A tokenizer's size may be interpolated from the dataset, which for itself may change.
    saved["tokenizer"], current["tokenizer"] = _tokenizer(OmegaConf.create(saved)), _tokenizer(cfg)
    changed = list(_differences(saved, current))
    # Dropout alone is a setting of the model that its weights do not depend on.
    fixed = [line for key, line in changed if key.split(".")[0] in FIXED and key != "model.dropout"]
    if fixed:
        raise CheckpointError(
            f"{run_dir} holds a run of another model or tokenizer, which this configuration cannot continue:\n  "
            + "\n  ".join(fixed[:8])
            + "\nChoose another job_name, or give the settings of the saved run."
        )
    remarks += [f"changed since the run began: {line}" for _, line in changed]
    ended = _read_end(run_dir) if last is not None and not changed else None
    return Opened(last, ended, tuple(remarks), bool(changed))


def save_end(run_dir: Path, step: int, metrics: Mapping[str, float], ended: str) -> None:
    """Note that the run has come to its end, at an optimizer step and with these metrics, and by which setting."""
    write_text(run_dir / END, json.dumps({"step": step, "metrics": dict(metrics), "ended": ended}, indent=2) + "\n")


def forget_end(run_dir: Path) -> None:
    """The run goes on: it has no end yet."""
    (run_dir / END).unlink(missing_ok=True)


def _read_end(run_dir: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((run_dir / END).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Nobody else trains in ``run_dir`` meanwhile; makes the directory.

    Raises:
        CheckpointError: somebody does already, or nothing can be written there.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = (run_dir / LOCK).open("w")
    except OSError as error:
        raise _unwritable(run_dir, error) from error
    with lock:
        if fcntl is not None:
            try:
                # Not inherited by loader processes, which may outlive a run that is killed by a few seconds.
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CheckpointError(
                    f"Another process is training in {run_dir}. Wait until it ends, or choose another job_name."
                ) from error
            except OSError:  # a file system without locks
                pass
        yield


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
    """A new run that fails before its first step leaves no directory behind: there is nothing in it to keep.

    Args:
        run_dir: of the run.
        started: whether there is something to keep, asked when it has failed.
    """
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
        raise _unwritable(run_dir / CONFIG, error) from error


def save_loaded_config(run_dir: Path, cfg: DictConfig) -> None:
    """Write ``loaded.yaml``, for the report, where a model that was trained elsewhere is evaluated.

    Not as ``config.yaml``, which would make a run of the directory.
    """
    if not (run_dir / CONFIG).is_file():
        write_text(run_dir / LOADED, OmegaConf.to_yaml(cfg))


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


def _unwritable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"Cannot write {path}: {error.strerror or error}. A run writes into run_dir: set it to a "
        "directory in which you may create files, or choose another job_name."
    )


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
