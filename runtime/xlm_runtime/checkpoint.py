"""Checkpoints: self-describing, of plain types only, in ``<run_dir>/checkpoints/{best,last}.ckpt``.

Lightning writes them; this file puts the configuration in, finds them, and reads them back with
``weights_only=True``, so that nothing is ever unpickled from a file.
"""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import nn

from xlm_runtime import __version__
from xlm_runtime.errors import CheckpointError, did_you_mean

KEY = "xlm"
RANDOM = "xlm_random_state"

_REMEDY = "Remove it, or use another one: ckpt_path=<file>. Without it, training begins again."


def describe(checkpoint: dict[str, Any], config: str) -> None:
    """Put the run's configuration (YAML text) and the runtime's version into a checkpoint."""
    checkpoint[KEY] = {"config": config, "version": __version__}


def random_state() -> dict[str, Any]:
    """The states of all generators, as tensors and plain numbers: a continued run draws on from them."""
    numbers: Any = np.random.get_state(legacy=True)
    _, words, *rest = numbers
    return {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(words.astype(np.int64)), *rest),
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set what ``random_state`` gave. Devices that are not there any more are left out."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    words, *rest = state["numpy"]
    np.random.set_state(("MT19937", words.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["cpu"].cpu())
    for device, device_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(device_state.cpu(), device)
    if state["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())


def forget_loader(checkpoint: dict[str, Any], num_workers: int) -> tuple[int, int] | None:
    """Take the data loader's state out of a checkpoint that was made with another number of workers, or another
    sampler, which would not take it.

    Args:
        checkpoint: as Lightning wrote it; changed.
        num_workers: of the loader that continues.

    Returns:
        Epoch, and how many of its examples had been seen on each device; None if the state fits.
    """
    saved = OmegaConf.create(checkpoint.get(KEY, {}).get("config", "")).get("datamodule")
    loops = checkpoint.get("loops", {}).get("fit_loop", {})
    if "combined_loader" not in loops.get("state_dict", {}) or saved is None or saved.num_workers == num_workers:
        return None
    del loops["state_dict"]["combined_loader"]
    batches = loops["epoch_loop.batch_progress"]["current"]["ready"]
    return int(checkpoint["epoch"]), int(batches) * int(saved.batch_size)


def find(run_dir: Path, names: tuple[str, ...] = ("best", "last")) -> Path | None:
    """The first of the named checkpoints that the run directory holds."""
    for name in names:
        path = run_dir / "checkpoints" / f"{name}.ckpt"
        if path.is_file():
            return path
    return None


def read(path: Path) -> dict[str, Any]:
    """A checkpoint's contents, tensors on the CPU.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds more than plain types.
    """
    if not path.is_file():
        directory = path if path.is_dir() else path.parent
        near = sorted(str(file) for file in directory.glob("*.ckpt"))
        raise CheckpointError(
            f"There is no checkpoint at {path}: give ckpt_path=<file>, or job_name=<a run that has saved one>.\n"
            f"Checkpoints in {directory}: {', '.join(near) or 'none'}. {did_you_mean(str(path), near)}"
        )
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and plain types, or is damaged; it is not loaded, because "
            f"unpickling it could run code. ({_first_line(error)})\n{_REMEDY}"
        ) from error
    except Exception as error:  # of bytes that are no pickle, torch raises what it happens to run into
        raise CheckpointError(
            f"{path} cannot be read: the file is damaged or cut short. ({_first_line(error)})\n{_REMEDY}"
        ) from error
    if not isinstance(contents, dict) or "state_dict" not in contents:
        raise CheckpointError(f"{path} is not a checkpoint of a training run: it has no 'state_dict'.")
    return contents


def config_of(path: Path) -> str:
    """The configuration, as YAML text, that a checkpoint carries.

    Raises:
        CheckpointError: it carries none, or cannot be read.
    """
    contents = read(path)
    if KEY not in contents:
        raise CheckpointError(
            f"{path} carries no configuration: it was not written by xlm. "
            "Give experiment=... so that the model can be built."
        )
    return str(contents[KEY]["config"])


def load_weights(module: nn.Module, path: Path) -> int:
    """Load a checkpoint's weights into a Harness of the same shape.

    Returns:
        The optimizer step at which it was saved.

    Raises:
        CheckpointError: tensors are missing, left over, or of another shape; up to five are named.
    """
    contents = read(path)
    state = contents["state_dict"]
    own = module.state_dict()
    faults = [f"missing: {name} {tuple(own[name].shape)}" for name in own if name not in state]
    faults += [f"left over: {name} {tuple(state[name].shape)}" for name in state if name not in own]
    faults += [
        f"another shape: {name} is {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if faults:
        more = f"\n  … and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise CheckpointError(
            f"The weights in {path} do not fit the configured model:\n  "
            + "\n  ".join(faults[:5])
            + more
            + "\nUse the configuration that the checkpoint was made with (leave experiment= and model= out)."
        )
    module.load_state_dict(state)
    return int(contents.get("global_step", 0))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
