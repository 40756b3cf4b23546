"""What the processes of a run tell one another; alone, a process tells itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")

_NOTHING = object()


def together() -> bool:
    """Whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather(value: T) -> list[T]:
    """What every process gives, in their order; all of them must call this."""
    if not together():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def interleaved(parts: Sequence[Sequence[T]]) -> list[T]:
    """Items that were dealt out in turn, in their first order."""
    return [item for item in chain.from_iterable(zip_longest(*parts, fillvalue=_NOTHING)) if item is not _NOTHING]  # type: ignore[misc]


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether any process says yes; all of them must call this."""
    if not together():
        return flag
    said = torch.tensor([int(flag)], device=device)
    dist.all_reduce(said, op=dist.ReduceOp.MAX)
    return bool(said.item())
