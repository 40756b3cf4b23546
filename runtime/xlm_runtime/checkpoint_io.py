"""How checkpoints come onto the disk: whole or not at all, with the one before kept beside the last."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from xlm_runtime.checkpoint import LAST, PREVIOUS
from xlm_runtime.errors import CheckpointError
from xlm_runtime.files import whole_file


class CheckpointFiles(TorchCheckpointIO):
    """Writes beside the file and renames. A new ``last.ckpt`` leaves the old one as ``previous.ckpt``.

    Raises ``CheckpointError`` where a file cannot be written, on a full disk for example: what was there stays.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        file = Path(path)
        keep = file.with_name(f"{PREVIOUS}.ckpt") if file.stem == LAST else None
        try:
            with whole_file(file, keep) as stream:
                torch.save(checkpoint, stream)
        except (OSError, RuntimeError) as error:
            # torch's writer, when the disk refuses, says which of its own positions are wrong.
            reason = error if isinstance(error, OSError) else error.__context__
            if not isinstance(reason, OSError):
                raise
            raise CheckpointError(
                f"The checkpoint {file} cannot be written: {reason.strerror or reason}. {_remedy(reason)}\n"
                f"The run stopped at step {checkpoint.get('global_step')}; {_what_is_left(file)}"
            ) from error

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def _what_is_left(file: Path) -> str:
    if any(file.with_name(f"{name}.ckpt").exists() for name in (LAST, PREVIOUS)):
        return "what was saved before is whole, and the same command continues from it."
    return "nothing had been saved before, and the same command begins again."


def _remedy(reason: OSError) -> str:
    if reason.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Make room there, or choose a run_dir on another disk."
    return "Set run_dir to a directory in which you may create files."
