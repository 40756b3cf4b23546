"""The order of training examples: decided by (seed, epoch) and nothing else.

torchdata's own sampler draws all epochs from one generator, whose state after a continued epoch is not what it would
have been: the next epoch of a continued run then has another order. Here an epoch's order needs no history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch.utils.data import Sampler


class EpochOrder(Sampler[int]):
    """All places of ``data``, anew each time it is iterated over; of several processes, each has its share.

    ``processes * batch_size`` examples in a row are those of one batch of every process: together, the processes see
    what one process with so large a batch would see.

    Args:
        data: what is ordered.
        seed: together with the number of the epoch, seeds its permutation.
        shuffle: False leaves them in order.
        group: so many examples, of all processes, make an optimizer step. Those at an epoch's end that make none are
            left out, since their gradient would be scaled as if they did; data smaller than one group is kept.
        batch_size: of each process.
        processes: how many share the examples.
        rank: which of them this is.
    """

    def __init__(
        self,
        data: Sized,
        seed: int,
        shuffle: bool = True,
        group: int = 1,
        batch_size: int = 1,
        processes: int = 1,
        rank: int = 0,
    ) -> None:
        self.data = data
        self.seed = seed
        self.shuffle = shuffle
        self.group = group
        self.batch_size, self.processes, self.rank = batch_size, processes, rank
        self.epoch = 0  # of the next iterator that begins
        self.place = 0  # where it begins, in this process's share

    def __len__(self) -> int:
        return self._used() // self.processes

    def _used(self) -> int:
        size = len(self.data)
        return size - size % self.group if size >= self.group else size

    def __iter__(self) -> Iterator[int]:
        return _Epoch(self)

    def start_at(self, epoch: int, place: int) -> None:
        """Let the next iterator begin there: of a run that continues, and whose loader's own state does not fit.

        Args:
            epoch: from 0.
            place: so many of its examples all processes together have seen.
        """
        self.epoch, self.place = epoch, place // self.processes

    def order(self, epoch: int) -> list[int]:
        """The places of one epoch, of all processes."""
        if not self.shuffle:
            return list(range(self._used()))
        # A generator's streams for neighbouring seeds are unrelated only after its state is mixed, which seeding does.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        return torch.randperm(len(self.data), generator=generator)[: self._used()].tolist()

    def share(self, epoch: int) -> list[int]:
        """Those of this process."""
        order = self.order(epoch)
        if self.processes == 1:
            return order
        batches = torch.tensor(order).view(-1, self.processes, self.batch_size)
        return batches[:, self.rank].flatten().tolist()


class _Epoch(Iterator[int]):
    """One epoch; its state is two numbers, which torchdata's loader keeps and gives back."""

    def __init__(self, sampler: EpochOrder) -> None:
        self._sampler = sampler
        self._epoch: int | None = None  # begun with the first number: loaders make iterators that they never use
        self._place = 0
        self._order: list[int] = []

    def _begin(self, epoch: int, place: int) -> None:
        self._epoch, self._place = epoch, place
        self._order = self._sampler.share(epoch)
        self._sampler.epoch, self._sampler.place = epoch + 1, 0

    def __next__(self) -> int:
        if self._epoch is None:
            self._begin(self._sampler.epoch, self._sampler.place)
        if self._place >= len(self._order):
            raise StopIteration
        self._place += 1
        return self._order[self._place - 1]

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._sampler.epoch if self._epoch is None else self._epoch, "place": self._place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._begin(state["epoch"], state["place"])
