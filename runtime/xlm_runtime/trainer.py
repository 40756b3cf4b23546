"""Facts of a Trainer that Lightning sets on it without declaring them."""

from __future__ import annotations

import lightning.pytorch as pl


def log_interval(trainer: pl.Trainer) -> int:
    """Steps between two logs of training."""
    return int(vars(trainer)["log_every_n_steps"])


def writes_nothing(trainer: pl.Trainer) -> bool:
    """Whether this is a ``fast_dev_run``: a few steps to see that nothing is broken."""
    return bool(vars(trainer)["fast_dev_run"])
