"""Gradients before a step: scaled, measured, clipped, and never taken for good when they are not finite.

Norms and losses stay on the device, a few numbers a step, and are looked at where the host waits for the device
anyway: at a log, and before a checkpoint is written. No step waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from xlm_runtime import processes
from xlm_runtime.errors import ConfigError, NonFiniteError

MODES = ("stop", "skip")
#: Norms that are kept at most before they are looked at.
_MOST = 1000
#: Names of parameters in a message.
_SHOWN = 6


@dataclass
class _Step:
    number: int
    places: list[tuple[int, int]]  # of its batches: epoch, batch of the epoch
    losses: list[Tensor]  # of its batches, () each
    norms: Tensor | None  # (parameters,)
    names: Sequence[str]
    shared: bool

    @property
    def judged(self) -> list[Tensor]:
        """What decides. Losses of a shared step are this process's alone; its gradients are the same everywhere, and
        all processes must come to the same end.
        """
        return [*([] if self.shared else self.losses), *([] if self.norms is None else [self.norms])]

    def is_finite(self) -> Tensor:
        """Bool, (), on the device."""
        parts = [part.reshape(-1).float() for part in self.judged]
        return torch.cat(parts).isfinite().all() if parts else torch.ones((), dtype=torch.bool)


class Gradients:
    """The gradients of one optimizer.

    Args:
        mode: what becomes of a step whose loss or gradient is not finite: "stop" ends the run, "skip" takes its
            gradient for zero.
        describe: batches of an epoch (epoch, their numbers in it) in words.

    Raises:
        ConfigError: another mode.
    """

    def __init__(self, mode: str, describe: Callable[[int, Sequence[int]], str]) -> None:
        if mode not in MODES:
            raise ConfigError(f"harness.nonfinite is {mode!r}; expected one of: {', '.join(MODES)}.")
        self.mode = mode
        self._describe = describe
        self._losses: list[Tensor] = []
        self._places: list[tuple[int, int]] = []
        self._steps: list[_Step] = []
        self.skipped = 0

    def saw(self, loss: Tensor, place: tuple[int, int]) -> None:
        """The loss of one batch of the step that is being made; where it stands: epoch, and batch of the epoch."""
        self._losses.append(loss.detach())
        self._places.append(place)

    def prepare(
        self,
        parameters: Sequence[tuple[str, nn.Parameter]],
        step: int,
        *,
        factor: Tensor | None = None,
        clip: float | None = None,
        by_value: bool = False,
        scaled: bool = False,
        shared: bool = False,
    ) -> None:
        """Make the gradients ready for the optimizer.

        Args:
            parameters: with their names; those without gradient are passed over.
            step: the number of the step, from 1.
            factor: multiply them by it first.
            clip: then bound their norm by it, or each of their entries; None: as they are.
            by_value: bound entries.
            scaled: a gradient scaler looks after gradients that are not finite: they are expected now and then.
            shared: several processes make the step; the gradients are reduced already.
        """
        named = [(name, p.grad) for name, p in parameters if p.grad is not None]
        names, grads = [name for name, _ in named], [grad for _, grad in named]
        losses, self._losses = self._losses, []
        places, self._places = self._places, []
        if not grads:
            return
        if factor is not None:
            _multiply(grads, factor)
        norms = torch.stack(torch._foreach_norm(grads))
        if isinstance(norms, DTensor):
            norms = norms.full_tensor()
        if clip is not None and by_value:
            torch.nn.utils.clip_grad_value_([p for _, p in parameters], clip)
        elif clip is not None:
            torch.nn.utils.clip_grads_with_norm_(
                [p for _, p in parameters], clip, torch.linalg.vector_norm(norms), foreach=None
            )
        made = _Step(step, places, losses, None if scaled else norms, names, shared)
        if self.mode == "skip" and not scaled:
            fine = made.is_finite()
            for grad in grads:
                grad.copy_(torch.where(fine, grad, 0.0))
        self._steps.append(made)
        if len(self._steps) >= _MOST:
            self.look()

    def look(self) -> None:
        """Wait for the device, and see whether all steps since the last look were finite.

        Raises:
            NonFiniteError: one was not, and the mode is "stop"; or "skip", and none of them was.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return
        finite = torch.stack([step.is_finite() for step in steps]).tolist()
        bad = [step for step, fine in zip(steps, finite, strict=True) if not fine]
        if not bad:
            return
        if self.mode == "stop" or (len(bad) == len(steps) and len(bad) > 1):
            raise NonFiniteError(self._words(bad[0], len(bad) if self.mode == "skip" else 0))
        self.skipped += len(bad)
        for step in bad:
            print(f"skipped {self._name(step)}; {self.skipped} skipped so far", flush=True)

    def _name(self, step: _Step) -> str:
        # One batch may have spoilt the step; where all losses were finite, any of them.
        bad = [place for place, loss in zip(step.places, step.losses, strict=True) if not bool(loss.isfinite())]
        places = bad or step.places
        return f"step {step.number} ({self._describe(places[0][0], [batch for _, batch in places])}), {_tensors(step)}"

    def _words(self, step: _Step, skipped: int) -> str:
        what = f"Not finite at {self._name(step)}."
        if skipped:
            what += f" All of the last {skipped} steps were like that: skipping them leads nowhere."
        return (
            f"{what}\nThe run stopped; what checkpoints it has are of steps before. A smaller optimizer.lr, more "
            "lr_scheduler.num_warmup_steps, a smaller trainer.gradient_clip_val or trainer.precision=32-true may help; "
            "harness.nonfinite=skip leaves single steps out."
        )


def describe_batches(
    epoch: int, batches: Sequence[int], examples_of: Callable[[int, int], Sequence[int] | None] | None
) -> str:
    """Batches of an epoch in words, by their first examples where they are known (of an epoch, and a batch of it)."""
    words = f"epoch {epoch}, batch{'es' if len(batches) > 1 else ''} {_some([str(batch) for batch in batches])}"
    each = [examples_of(epoch, batch) for batch in batches] if examples_of is not None else [None]
    examples = [example for batch in each if batch is not None for example in batch]
    if None in each:
        return words
    return f"{words}: training examples {', '.join(map(str, examples[:8]))}{', …' if len(examples) > 8 else ''}"


def check_weights(weights: Mapping[str, Tensor | None], step: int) -> None:
    """Raise ``NonFiniteError`` if a weight is not finite; None is one that another process looks at.

    All processes call this, and all raise: none waits for one that has ended.
    """
    found = processes.gather(_bad_weights({name: value for name, value in weights.items() if value is not None}))
    if said := next(filter(None, found), None):
        raise NonFiniteError(
            f"Not finite after step {step}: {said}. No checkpoint of them is written; those of steps before are "
            "whole. A smaller optimizer.lr may help."
        )


def _bad_weights(weights: Mapping[str, Tensor]) -> str | None:
    if not weights or bool(torch.stack([value.isfinite().all() for value in weights.values()]).all()):
        return None
    bad = [name for name, value in weights.items() if not bool(value.isfinite().all())]
    return f"{_some(bad)} (of {len(weights)} weights)"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _multiply(grads: list[Tensor], factor: Tensor) -> None:
    if isinstance(grads[0], DTensor):
        for grad in grads:
            grad.to_local().mul_(factor)  # type: ignore[attr-defined]
    else:
        torch._foreach_mul_(grads, factor)


def _tensors(step: _Step) -> str:
    words = [] if all(bool(loss.isfinite()) for loss in step.losses) else ["the loss"]
    if step.norms is not None:
        bad = [name for name, fine in zip(step.names, step.norms.isfinite().tolist(), strict=True) if not fine]
        if bad:
            words.append(f"the gradient of {_some(bad)} (of {len(step.names)})")
    return " and ".join(words)
