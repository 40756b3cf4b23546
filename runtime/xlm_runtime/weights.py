"""Which weights these are: the same ones are known again, whatever file they came from and wherever it lies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xlm_runtime import checkpoint
from xlm_runtime.errors import CheckpointError
from xlm_runtime.runs import CONFIG


def weights_fingerprint(module: nn.Module) -> str:
    """The same for a checkpoint and what was exported from it; another one if a single number differs."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        whole = value.detach().cpu().contiguous()
        digest.update(f"{name} {whole.dtype} {tuple(whole.shape)}\n".encode())
        digest.update(whole.reshape(-1).view(torch.uint8).numpy())  # as bytes: numpy knows no bfloat16
    return digest.hexdigest()[:16]


def check_own_directory(module: nn.Module, path: Path, run_dir: Path) -> None:
    """Refuse to write what a model says into the directory of another run, which may have its name by chance.

    Args:
        module: the Harness, loaded.
        path: of the checkpoint or exported folder that it was loaded from.
        run_dir: where rows and numbers are to be written.

    Raises:
        CheckpointError: ``run_dir`` holds a run that was trained there, and these are the weights of none of its
            checkpoints.
    """
    if path.resolve().is_relative_to(run_dir.resolve()) or not (run_dir / CONFIG).is_file():
        return
    files = sorted((run_dir / "checkpoints").glob("*.ckpt"))
    own = module.state_dict()
    if not files or any(_holds(file, own) for file in files):
        return
    raise CheckpointError(
        f"{run_dir} holds a run of its own, and {path} is none of its checkpoints "
        f"({', '.join(file.name for file in files)}): what this model says would stand there as if that run had said "
        "it. Give it another name, job_name=<name>, or another directory, run_dir=<directory>."
    )


def _holds(file: Path, own: Mapping[str, Tensor]) -> bool:
    state: Any = {}
    with suppress(CheckpointError):  # a damaged one is nobody's
        state = checkpoint.read(file)["state_dict"]
    return state.keys() == own.keys() and all(
        state[name].shape == value.shape and torch.equal(state[name].to(value), value) for name, value in own.items()
    )
