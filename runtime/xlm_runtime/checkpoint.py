"""Checkpoints: self-describing, of plain types only, in ``<run_dir>/checkpoints/{best,last,previous}.ckpt``.

Lightning writes them; this file puts the configuration in, finds them, and reads them back with
``weights_only=True``, so that nothing is ever unpickled from a file.
"""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from xlm_runtime import __version__
from xlm_runtime.errors import CheckpointError, did_you_mean

KEY = "xlm"

#: Where a checkpoint says what ended the training, if it was more than the number of its steps.
END = "xlm_end"

#: The names of the files: by the monitored metric, of the last save, and of the save before it.
BEST, LAST, PREVIOUS = "best", "last", "previous"

#: In a zip file, the attribute of a directory.
_DIRECTORY = 0x10

#: What to do about a file that cannot be used: of a model that is to be used, and of a run that is to be continued.
ANOTHER = (
    f"Use another checkpoint: ckpt_path=<file>, or load(<file>) in Python. A run keeps {BEST}.ckpt, {LAST}.ckpt and "
    f"{PREVIOUS}.ckpt."
)
BEGIN_AGAIN = "Remove it: without a checkpoint, training begins again."


def describe(checkpoint: dict[str, Any], config: str) -> None:
    """Put the run's configuration (YAML text) and the runtime's version into a checkpoint."""
    checkpoint[KEY] = {"config": config, "version": __version__}


def find(run_dir: Path, names: tuple[str, ...] = (BEST, LAST, PREVIOUS)) -> Path | None:
    """The first of the named checkpoints that the run directory holds."""
    for name in names:
        path = run_dir / "checkpoints" / f"{name}.ckpt"
        if path.is_file():
            return path
    return None


def to_continue_from(run_dir: Path) -> tuple[Path | None, str]:
    """The last checkpoint that is whole, and what is to be said of one that is not.

    Raises:
        CheckpointError: there is one, and none is whole.
    """
    said: list[str] = []
    first: CheckpointError | None = None
    for name in (LAST, PREVIOUS):
        path = find(run_dir, (name,))
        if path is None:
            continue
        try:
            check_whole(path, BEGIN_AGAIN)
            # Checksums say nothing of the names and places of what they are of.
            read(path, BEGIN_AGAIN, mapped=True)
        except CheckpointError as error:
            first = first or error
            said.append(str(error).partition("\n")[0])
        else:
            return path, "\n".join([*said, f"Continuing from the one before it, {path}."] if said else [])
    if first is not None:
        raise first
    return None, ""


def check_whole(path: Path, remedy: str = ANOTHER) -> None:
    """Read a checkpoint's bytes and compare their checksums, which loading it does not do.

    Raises:
        CheckpointError: it is damaged or cut short.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            fault = archive.testzip()
            directories = [part.filename for part in archive.infolist() if part.external_attr & _DIRECTORY]
    except Exception as error:  # of a damaged directory of its parts, zipfile raises what it happens to run into
        raise _damaged(path, remedy, f" ({_first_line(error)})") from error
    if fault is not None:
        raise _damaged(path, remedy, f" (the checksum of {fault} is wrong)")
    if directories:  # torch would read nothing, and take for the numbers what stands in memory
        raise _damaged(path, remedy, f" ({directories[0]} is marked as a directory)")


def read(path: Path, remedy: str = ANOTHER, mapped: bool = False) -> dict[str, Any]:
    """A checkpoint's contents, tensors on the CPU.

    Args:
        path: the file.
        remedy: what to do if it cannot be used.
        mapped: leave the tensors on the disk, for whoever does not want all of them.

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
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    # What torch says is left out: it speaks of its own insides, and advises to unpickle the file all the same.
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and plain types, or is damaged; it is not loaded, because "
            f"unpickling it could run code.\n{remedy}"
        ) from error
    except Exception as error:  # of bytes that are no pickle, torch raises what it happens to run into
        raise _damaged(path, remedy) from error
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


def load_weights(module: nn.Module, path: Path, model: Mapping[str, Any] | None = None) -> int:
    """Load a checkpoint's weights into a Harness of the same shape.

    Settings of the model that have changed, but for those by which tensors would not fit, are told on stderr.

    Args:
        module: the Harness.
        path: the checkpoint.
        model: the configured network's node, to be compared with what the checkpoint says of its own.

    Returns:
        The optimizer step at which it was saved.

    Raises:
        CheckpointError: tensors are missing, left over, or of another shape; up to five are named. Or they are of a
            model of another package, whatever their shapes. Or the file is damaged.
    """
    contents = read(path)
    if zipfile.is_zipfile(path):  # as torch has written for years: with checksums, at which it does not look
        check_whole(path)
    remark = ""
    if model is not None and KEY in contents:  # first: of another model, no tensor fits, which says less
        remark = check_model(str(contents[KEY]["config"]), model, path)
    load_state(module, contents["state_dict"], path)
    print(remark, end="", file=sys.stderr, flush=True)
    return int(contents.get("global_step", 0))


def check_model(config: str, model: Mapping[str, Any], path: Path) -> str:
    """Raise a CheckpointError if the saved configuration is of another package's model: shapes alone may agree.

    Returns:
        A line for each setting that is not what the weights were trained with, if there are any; dropout aside.
    """
    node = (yaml.safe_load(config) or {}).get("model")
    saved = node if isinstance(node, dict) else {}
    target, own = str(saved.get("_target_", "")), str(model["_target_"])
    if target and target.partition(".")[0] != own.partition(".")[0]:
        raise CheckpointError(
            f"{path} holds the weights of another model: {target}. The configuration is for {own}. Leave experiment= "
            "and model= out: the checkpoint brings its own configuration."
        )
    changed = [k for k in saved if k in model and model[k] != saved[k] and k != "dropout"]
    lines = [f"changed since the weights were trained: model.{k}: {saved[k]} -> {model[k]}\n" for k in changed]
    return "".join(lines)


def load_state(module: nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load tensors by name; ``path`` is where they come from.

    Raises:
        CheckpointError: tensors are missing, left over, or of another shape; up to five are named.
    """
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


def _damaged(path: Path, remedy: str, reason: str = "") -> CheckpointError:
    return CheckpointError(f"{path} cannot be read: the file is damaged or cut short.{reason}\n{remedy}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
