"""Scalars of training, summed on the device between two logs, and what each batch of a step counts for.

A loss is a mean over so many tokens as it returns beside it, as ``num_tokens`` or as ``weight``. Where several batches
make one optimizer step (several processes, accumulated gradients), each counts for its tokens, so that the step is that
of one large batch:

    grad = sum_b n_b grad_b / sum_b n_b            over the batches b of all processes

A loss that returns neither makes all batches count alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

WEIGHTS = ("weight", "num_tokens")


class Tracked:
    """Means of scalars over the steps since the last log. No step waits for the device.

    Args:
        names: scalars of the loss's dict.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._totals: dict[str, Tensor] = {}
        self._steps = 0
        self._parts: list[Tensor] = []  # of the step that is being made: (1 + names,) each

    def add(self, output: Mapping[str, Any]) -> None:
        """Take in the only batch of a step."""
        for name in self.names:
            value = torch.as_tensor(output[name]).detach()
            self._totals[name] = self._totals[name] + value if name in self._totals else value.clone()
        self._steps += 1

    def weigh(self, output: Mapping[str, Any]) -> Tensor:
        """Take in one of several batches of a step.

        Returns:
            The loss times what the batch counts for, (): gradients are to be multiplied by ``close``'s factor.
        """
        loss: Tensor = output["loss"]
        named = next((output[name] for name in WEIGHTS if name in output), 1)
        weight = torch.as_tensor(named, device=loss.device).detach().float()
        values = [torch.as_tensor(output[name], device=loss.device).detach().float() for name in self.names]
        self._parts.append(torch.stack([weight, *(weight * value for value in values)]))
        return loss * weight

    def close(self, processes: int) -> Tensor:
        """The step's batches are all in: over all processes, their means count as the step's.

        Returns:
            What a sum of the processes' mean gradients is to be multiplied by, (): processes / sum of weights.
        """
        sums = torch.stack(self._parts).sum(0)
        self._parts.clear()
        if processes > 1:
            torch.distributed.all_reduce(sums)
        total = sums[0].clamp(min=1)  # no tokens at all: a gradient of zero
        for name, value in zip(self.names, sums[1:] / total, strict=True):
            self._totals[name] = self._totals[name] + value if name in self._totals else value
        self._steps += 1
        return processes / total

    def means(self) -> dict[str, Tensor]:
        """The means since the last call, by name."""
        means = {name: total / max(self._steps, 1) for name, total in self._totals.items()}
        self._totals.clear()
        self._steps = 0
        return means

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint between two logs keeps."""
        return {"totals": dict(self._totals), "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from ``state_dict``. A name that is tracked no more is left out; sums that lack one are dropped."""
        if set(self.names) <= set(state["totals"]):
            self._totals = {name: state["totals"][name].to(device) for name in self.names}
            self._steps = int(state["steps"])
