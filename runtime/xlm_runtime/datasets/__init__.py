"""Datasets, one file each, and what they share: arrays kept on disk between runs.

A dataset is made once (``StarGraphs(...)``) and indexed by split: ``ds["train"]`` is map-style, and
``ds["train"][i]`` is ``{"token_ids": list[int], "index": int}``, for prompts and answers also
``"prompt_ids"``: raw ids without special tokens. ``index`` (``example_index``) is the example's own among those of
all splits: whatever is drawn for an example in evaluation is drawn from the seed and this number.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from xlm_runtime.errors import DataError

Array = npt.NDArray[np.int32]


@runtime_checkable
class Preparable(Protocol):
    """A dataset whose examples are made once and kept on the disk: ``job_type=prepare_data`` makes them."""

    @property
    def directory(self) -> Path:
        """Where they are kept."""
        ...

    def is_prepared(self) -> bool:
        """Whether they are there."""
        ...

    def prepare(self, report: Any) -> dict[str, dict[str, Any]]:
        """Make what is not there. Of each split ``documents``, ``empty``, ``tokens``, ``blocks``, and ``waste``, the
        share of padding (None: unknown). ``report`` is a ``text_progress.Report``.
        """
        ...


@runtime_checkable
class Identified(Protocol):
    """A dataset that is made of something which may change under the same configuration."""

    def content_id(self) -> str:
        """What identifies that: the same text for the same content."""
        ...


@runtime_checkable
class Divisible(Protocol):
    """A stream of examples that several devices share, each taking its part."""

    def share(self, rank: int, processes: int, skipped: int = 0) -> Any:
        """Become the part of this device, without its first ``skipped`` examples; divides itself further among the
        loader's processes. Returns the stream.
        """
        ...


def example_index(split: str, place: int) -> int:
    """The number of an example among those of all splits, in [0, 2^63).

    The same place in two splits gets two numbers, and a split's number depends on its name alone.
    """
    return (zlib.crc32(split.encode()) >> 1 << 32) + place


def cache_directory(cache_dir: str | Path, name: str, parameters: Mapping[str, Any]) -> Path:
    """``cache_dir/name/<key>``; the key changes with every one of ``parameters`` (JSON values).

    Nothing is created. "~" is the user's home.
    """
    text = json.dumps(parameters, sort_keys=True)
    return Path(cache_dir).expanduser() / name / hashlib.sha256(text.encode()).hexdigest()[:16]


def cached_array(path: Path, shape: tuple[int, ...], make: Callable[[], Array]) -> Array:
    """The int32 array of ``shape`` kept in ``path`` (.npy); if missing or bad, ``make()`` makes it.

    Several processes may call this at once: each writes a file of its own and renames it, so a
    reader sees a whole file or none.
    Raises ``DataError`` if the file cannot be opened or written.
    """
    array = _read(path, shape)
    if array is None:
        array = make()
        assert array.shape == shape and array.dtype == np.int32
        _write(path, array)
    return array


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``path`` and make its directory; a reader sees the old file or the new one, whole.

    Raises ``DataError`` if that is not possible.
    """
    # The name is drawn: process ids repeat across the machines that share a directory.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                # Without it, a power cut can leave the name but not the content.
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"Cannot write the dataset's cache {path}: {error}. "
            "Set cache_dir to a directory in which you may create files."
        ) from error


def _read(path: Path, shape: tuple[int, ...]) -> Array | None:
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (ValueError, EOFError):  # truncated, or no such file format at all
        return None
    except OSError as error:
        raise DataError(
            f"Cannot read the dataset's cache {path}: {error}. "
            "Make it readable for you, or set cache_dir to another directory."
        ) from error
    return array if array.shape == shape and array.dtype == np.int32 else None


def _write(path: Path, array: Array) -> None:
    buffer = BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    write_atomically(path, buffer.getvalue())
