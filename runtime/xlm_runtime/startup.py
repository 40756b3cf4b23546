"""A quick start: Python's garbage collector looks at all that is alive, again and again, while libraries are imported.

That took a fifth of the time from a command to its first step, and there is nothing to be found.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_left_alone = False


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
    global _left_alone
    if not gc.isenabled():
        # Of what a program has left behind by its second command, much is garbage. Python is not asked whether anything
        # is left alone yet: it counts all of that, one by one.
        if not _left_alone:
            gc.freeze()
        _left_alone = True
        gc.enable()
