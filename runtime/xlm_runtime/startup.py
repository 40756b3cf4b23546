"""A quick start: Python's garbage collector looks at all that is alive, again and again, while libraries are imported.

That took a fifth of the time from a command to its first step, and there is nothing to be found.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Leave the collector off meanwhile, or until ``libraries_are_loaded``; it is as it was afterwards."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def libraries_are_loaded() -> None:
    """Switch the collector on. What is there by now is left alone for good: a program's libraries stay."""
    if not gc.isenabled():
        if gc.get_freeze_count() == 0:  # of what a program has left behind by its second command, much is garbage
            gc.freeze()
        gc.enable()
