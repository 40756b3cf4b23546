"""Which parameters the optimizer gets, in which groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from xlm_runtime.errors import ConfigError


def parameter_groups(
    parts: Mapping[str, nn.Module], weight_decay: float, options: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Optimizer groups over the trainable parameters of all parts, each parameter once.

    Weight decay acts on matrices (two dimensions or more), never on biases, norms and other vectors.

    Args:
        parts: modules by name, as the Harness has them: model, loss, predictor, noise_schedule.
        weight_decay: for the decayed groups, unless ``options`` says otherwise for a part.
        options: optimizer options by part, for example ``{"noise_schedule": {"lr": 1e-2}}``.

    Returns:
        Dicts as torch optimizers take them, with a ``name`` each (``model/decay``, ``model/no_decay``, …).

    Raises:
        ConfigError: ``options`` names a part that is not there or has no parameters of its own.
    """
    groups: list[dict[str, Any]] = []
    seen: set[int] = set()
    filled: set[str] = set()
    for part, module in parts.items():
        extra = dict(options.get(part, {}))
        decay = extra.pop("weight_decay", weight_decay)
        fresh = [p for p in module.parameters() if p.requires_grad and id(p) not in seen]
        seen.update(id(p) for p in fresh)
        for name, wanted, value in (("decay", True, decay), ("no_decay", False, 0.0)):
            chosen = [p for p in fresh if (p.ndim >= 2) is wanted]
            if chosen:
                filled.add(part)
                groups.append({"params": chosen, "weight_decay": value, "name": f"{part}/{name}", **extra})
    if unknown := sorted(set(options) - filled):
        raise ConfigError(
            f"optimizer.groups names {', '.join(map(repr, unknown))}, but the parts with trainable parameters of "
            f"their own are: {', '.join(sorted(filled)) or 'none'}. Correct the name, or make the part an nn.Module."
        )
    return groups


def group_options(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The options of each parameter group, without its parameters."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def keep_options(optimizer: Optimizer, scheduler: LRScheduler | None, options: list[dict[str, Any]]) -> None:
    """Give a restored optimizer the options that it was configured with now.

    A checkpoint restores options too, so a continued run would ignore a changed ``optimizer.lr``. A rate that has
    changed is scaled: where the schedule stands is kept. With the same options nothing changes, to the bit.

    Args:
        optimizer: after its state was restored.
        scheduler: its schedule, restored, or None.
        options: as ``group_options`` gave them when the optimizer was made.
    """
    for position, (group, wanted) in enumerate(zip(optimizer.param_groups, options, strict=True)):
        old, new = group.get("initial_lr", group["lr"]), wanted.get("initial_lr", wanted["lr"])
        rate = group["lr"] if old == new else group["lr"] * new / old if old else new
        group.update({**wanted, "lr": rate})
        if scheduler is not None:
            scheduler.base_lrs[position] = new
