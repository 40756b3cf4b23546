"""The order of training examples: a permutation for each (seed, epoch), and nothing else decides it.

torchdata's own sampler draws all epochs from one generator, whose state after a continued epoch is not what it would
have been: the next epoch of a continued run then has another order. Here an epoch's order needs no history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch.utils.data import Sampler


class EpochShuffle(Sampler[int]):
    """All places of ``data`` in random order, anew each time it is iterated over.

    Args:
        data: what is shuffled.
        seed: together with the number of the epoch, seeds its permutation.
    """

    def __init__(self, data: Sized, seed: int) -> None:
        self.data = data
        self.seed = seed
        self.epoch = 0  # of the next iterator that begins

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[int]:
        return _Epoch(self)

    def permutation(self, epoch: int) -> list[int]:
        """The order of one epoch."""
        # A generator's streams for neighbouring seeds are unrelated only after its state is mixed, which seeding does.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        return torch.randperm(len(self.data), generator=generator).tolist()


class _Epoch(Iterator[int]):
    """One epoch; its state is two numbers, which torchdata's loader keeps and gives back."""

    def __init__(self, sampler: EpochShuffle) -> None:
        self._sampler = sampler
        self._epoch: int | None = None  # begun with the first number: loaders make iterators that they never use
        self._place = 0
        self._order: list[int] = []

    def _begin(self, epoch: int, place: int) -> None:
        self._epoch, self._place = epoch, place
        self._order = self._sampler.permutation(epoch)
        self._sampler.epoch = epoch + 1

    def __next__(self) -> int:
        if self._epoch is None:
            self._begin(self._sampler.epoch, 0)
        if self._place >= len(self._order):
            raise StopIteration
        self._place += 1
        return self._order[self._place - 1]

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._sampler.epoch if self._epoch is None else self._epoch, "place": self._place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._begin(state["epoch"], state["place"])
