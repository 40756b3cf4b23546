"""Faults of the machine that a user can do something about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from omegaconf import DictConfig

from xlm_runtime.errors import LostProcessError, OutOfMemoryError

_REMEDIES = {
    "batch_size": (
        "Lower batch_size and keep global_batch_size=<what it was>: gradients are then accumulated. "
        "trainer.precision=bf16-mixed, a smaller model or shorter blocks need less, too."
    ),
    "eval_batch_size": "Lower eval_batch_size.",
}


@contextmanager
def plain_memory_faults(cfg: DictConfig, *keys: str) -> Iterator[None]:
    """Say what did not fit into memory, and what to try.

    Args:
        cfg: the run's configuration.
        keys: of batch sizes; the first one is what to lower first.

    Raises:
        OutOfMemoryError: in the place of what torch and Python raise.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not _is_of_memory(error):
            raise
        words = ", ".join(f"{key} is {cfg[key]}" for key in keys)
        raise OutOfMemoryError(f"Out of memory: {words}. {_REMEDIES[keys[0]]}\n({_first_sentence(error)})") from error


@contextmanager
def plain_lost_processes(processes: int, remark: Callable[[], str]) -> Iterator[None]:
    """Say that another process of the run has ended, where this one has found the connection to it broken.

    Args:
        processes: of the run.
        remark: how to go on.

    Raises:
        LostProcessError: in the place of what torch raises.
    """
    try:
        yield
    except RuntimeError as error:
        if processes == 1 or not is_of_connection(error):
            raise
        raise LostProcessError(
            f"Another process of this run has ended, and the others cannot go on without it: what it said stands "
            f"above, or it was killed from outside, as for want of memory. {remark()}\n({_first_sentence(error)})"
        ) from error


def is_of_connection(error: BaseException) -> bool:
    """Whether the connection to another process is broken."""
    # NCCL and the store have classes for it, gloo has not.
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError)
        and bool(re.search(r"/gloo/|Connection (closed|reset|refused)|Broken pipe|Socket closed", str(error)))
    )


def _is_of_memory(error: RuntimeError) -> bool:
    # On a CPU, and of other libraries, torch has no class for it.
    return bool(re.search(r"not enough memory|can't allocate memory|out of memory|Cannot allocate memory", str(error)))


def _first_sentence(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
