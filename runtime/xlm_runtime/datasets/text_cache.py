"""Directories that are whole or not there, and the arrays in them.

A directory is made under another name and renamed when all of it is on the disk, so a process that is killed leaves
nothing that could be taken for a whole one. A second process that wants the same waits for the first; where the file
system has no locks both make it, and the first rename counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from xlm_runtime.errors import DataError

META = "meta.json"


def built(directory: Path, build: Callable[[Path], dict[str, Any]], say: Callable[[str], None]) -> dict[str, Any]:
    """What describes ``directory``; if it is not there, ``build(temporary)`` fills a temporary one and describes it.

    Args:
        directory: where it shall stand.
        build: returns JSON values, which are kept in ``meta.json``.
        say: is told of waiting for another process.

    Raises:
        DataError: it cannot be read or written.
    """
    try:
        if (meta := description(directory)) is not None:
            return meta
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _locked(directory, say) as alone:
            if (meta := description(directory)) is not None:  # another process has made it meanwhile
                return meta
            if alone:
                for left in directory.parent.glob(f".{directory.name}.*.tmp"):  # by processes that were killed
                    shutil.rmtree(left, ignore_errors=True)
            return _build(directory, build)
    except OSError as error:
        raise DataError(
            f"The dataset's cache {directory} cannot be read or written: {error}. Make room, or set cache_dir to a "
            "directory in which you may create files."
        ) from error


def _build(directory: Path, build: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    temporary = directory.parent / f".{directory.name}.{secrets.token_hex(8)}.tmp"
    temporary.mkdir()
    try:
        meta = build(temporary)
        sizes = {file.name: file.stat().st_size for file in sorted(temporary.iterdir())}
        with (temporary / META).open("w", encoding="utf-8") as stream:
            json.dump({**meta, "sizes": sizes}, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            temporary.rename(directory)
        except OSError:
            if (theirs := description(directory)) is None:
                raise
            return theirs
        return {**meta, "sizes": sizes}
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def description(directory: Path) -> dict[str, Any] | None:
    """What ``built`` keeps of a directory; None if it is not there. Raises ``DataError`` if it is damaged."""
    try:
        meta: dict[str, Any] = json.loads((directory / META).read_text(encoding="utf-8"))
        wrong = [name for name, size in meta["sizes"].items() if (directory / name).stat().st_size != size]
    except (FileNotFoundError, NotADirectoryError):
        if not directory.exists():
            return None
        wrong = ["a file that is missing"]
    except (ValueError, KeyError):
        wrong = [META]
    if wrong:
        raise DataError(f"The dataset's cache {directory} is damaged: {', '.join(wrong)}. Delete this directory.")
    return meta


@contextlib.contextmanager
def _locked(directory: Path, say: Callable[[str], None]) -> Iterator[bool]:
    """Whether no other process can be here at the same time. A lock ends with its process, however that ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    with (directory.parent / f".{directory.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process, which prepares {directory}")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            yield False
            return
        yield True


class ArrayWriter:
    """Appends arrays of one dtype to a file; on the disk when it is closed."""

    def __init__(self, file: Path, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._file: BinaryIO = file.open("xb", buffering=1 << 20)

    def append(self, array: npt.NDArray[Any]) -> None:
        """Add a (N,) array."""
        self._file.write(array.astype(self.dtype, copy=False).tobytes())
        self.length += len(array)

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())


class MappedArray:
    """A file of ``ArrayWriter``, memory-mapped when it is first looked into; cheap to send to another process."""

    def __init__(self, file: Path, dtype: npt.DTypeLike) -> None:
        self._file, self._dtype = file, np.dtype(dtype)
        self._array: npt.NDArray[Any] | None = None

    @property
    def array(self) -> npt.NDArray[Any]:
        if self._array is None:
            empty = self._file.stat().st_size == 0  # of which no map can be made
            mapped = np.zeros(0, self._dtype) if empty else np.memmap(self._file, self._dtype, mode="r")
            self._array = np.asarray(mapped)  # a slice of a plain view costs less than one of a memmap
        return self._array

    def __len__(self) -> int:
        return len(self.array)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_array": None}
