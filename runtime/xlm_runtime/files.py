"""Writing a file so that it is either the old one or the new one, never half of each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

SUFFIX = ".tmp"


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
    except BaseException:
        Path(name).unlink(missing_ok=True)
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
