"""What a checkpoint holds of a run's course besides weights and optimizer: generators, the loaders' positions, sums.

Each process has a course of its own; the checkpoint, which the first one writes, holds those of all.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

KEY = "xlm_course"


@dataclass(frozen=True)
class Layout:
    """How examples are dealt out: another layout cannot take a loader's saved state.

    Attributes:
        processes: how many share each step's examples.
        workers: loader processes of each.
        batch_size: examples of a batch in one process.
        streaming: whether they come from a stream.
    """

    processes: int
    workers: int
    batch_size: int
    streaming: bool = False


def put(checkpoint: dict[str, Any], layout: Layout, tracked: dict[str, Any]) -> None:
    """Put the course of all processes into a checkpoint that Lightning has made; every process calls this."""
    loader = _loops(checkpoint).get("state_dict", {}).get("combined_loader")
    mine = {"random": random_state(), "loader": loader}
    everyone: list[Any] = [mine]
    if layout.processes > 1:
        everyone = [None] * layout.processes
        torch.distributed.all_gather_object(everyone, mine)
    checkpoint[KEY] = {"layout": vars(layout), "tracked": tracked, "processes": everyone}


def take(checkpoint: dict[str, Any], layout: Layout, rank: int) -> tuple[dict[str, Any] | None, tuple[int, int] | None]:
    """Find this process's course in a checkpoint, and put its loader's state where Lightning looks for it.

    Args:
        checkpoint: as it was saved; changed.
        layout: of the run that continues.
        rank: of this process.

    Returns:
        The states of the generators, None if that process was not there. And, if the layout is another one, from which
        example on to continue: epoch, and how many examples all processes together had seen of it.
    """
    course = checkpoint.get(KEY)
    if course is None:
        return None, None
    saved = Layout(**course["layout"])
    mine = course["processes"][rank] if saved.processes == layout.processes else None
    loops = _loops(checkpoint)
    if "combined_loader" not in loops.get("state_dict", {}):
        return mine and mine["random"], None
    if replace(saved, batch_size=layout.batch_size) == layout and mine is not None:
        loops["state_dict"]["combined_loader"] = mine["loader"]
        return mine["random"], None
    del loops["state_dict"]["combined_loader"]
    batches = int(loops["epoch_loop.batch_progress"]["current"]["ready"])
    place = int(checkpoint["epoch"]), batches * saved.batch_size * saved.processes
    return mine and mine["random"], place


def random_state() -> dict[str, Any]:
    """The states of all generators, as tensors and plain numbers: a continued run draws on from them."""
    numbers: Any = np.random.get_state(legacy=True)
    _, words, *rest = numbers
    return {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(words.astype(np.int64)), *rest),
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Set what ``random_state`` gave. Devices that are not there any more are left out."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    words, *rest = state["numpy"]
    np.random.set_state(("MT19937", words.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["cpu"].cpu())
    for device, device_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(device_state.cpu(), device)
    if state["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())


def _loops(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    return dict.get(checkpoint.get("loops", {}), "fit_loop", {})
