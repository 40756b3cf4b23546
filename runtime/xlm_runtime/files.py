"""Writing a file so that it is either the old one or the new one, never half of each."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from xlm_runtime.errors import DiskFullError

SUFFIX = ".tmp"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def plain_disk_faults() -> Iterator[None]:
    """Say of a disk that is full what to do about it.

    Raises:
        DiskFullError: in the place of Python's ``OSError``; any other one is left as it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        name = error.filename or "A file"
        raise DiskFullError(
            f"{name} cannot be written: {error.strerror}. Make room there, or choose a run_dir (or cache_dir) on "
            "another disk. What was saved before is whole: the same command continues from it."
        ) from error


@contextmanager
def whole_file(file: Path, keep: Path | None = None) -> Iterator[IO[bytes]]:
    """A stream that becomes ``file`` when the block ends, and nothing at all if it fails; makes directories.

    Args:
        file: what is written.
        keep: another name that the old file is left under.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=SUFFIX)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # a power cut must not leave the name without the content
        os.chmod(name, 0o666 & ~_umask())
        if keep is not None and file.exists():
            _keep(file, keep)
        os.replace(name, file)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(file)  # a write to a stream does not know
        raise


def write_text(file: Path, text: str) -> None:
    """Write UTF-8 text beside ``file`` and rename it into place; directories are made as needed."""
    with whole_file(file) as stream:
        stream.write(text.encode("utf-8"))


def remove_unfinished(directory: Path, names: str = "*") -> None:
    """Remove what killed processes have begun to write in ``directory``; ``names`` is a pattern of the files meant."""
    for file in directory.glob(f".{names}.*{SUFFIX}"):
        with suppress(OSError):
            file.unlink()


def _keep(file: Path, keep: Path) -> None:
    # A second name for the old content: at no moment is there no file of the first name.
    link = keep.with_name(f".{keep.name}.{os.getpid()}{SUFFIX}")
    link.unlink(missing_ok=True)
    try:
        os.link(file, link)
    except OSError:  # a file system without links
        os.replace(file, keep)
        return
    os.replace(link, keep)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
