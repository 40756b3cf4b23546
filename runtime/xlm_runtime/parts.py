"""The parts of a Harness: each that holds weights is owned once, each that wants the device is told it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


def share(parts: Mapping[str, nn.Module]) -> None:
    """A part that holds another part (``loss.model``) refers to it, and does not own it a second time.

    Without this, a loss that is an ``nn.Module`` would put every weight of the model into the state dict twice.
    """
    for module in [module for part in parts.values() for module in part.modules()]:
        for name, child in list(module._modules.items()):
            if any(child is part for part in parts.values()):
                del module._modules[name]
                object.__setattr__(module, name, child)


def configure(loss: Any, harness: Any) -> None:
    """Tell a loss that the harness is on its device, if it has a ``configure`` to be told by."""
    if hasattr(loss, "configure"):
        loss.configure(harness)
