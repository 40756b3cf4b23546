"""Which parameters the optimizer gets, in which groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

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
