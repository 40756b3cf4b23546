"""What a Trainer makes of a configuration, held against the configuration: before any process is started.

Lightning settles on devices, processes and precision while it makes the Trainer; only there do they stand as numbers.
"""

from __future__ import annotations

import lightning.pytorch as pl
from omegaconf import DictConfig

from xlm_runtime.errors import ConfigError


def accumulation(cfg: DictConfig, processes: int) -> int:
    """How many batches of each process make a step.

    Args:
        cfg: with ``batch_size`` and ``global_batch_size``.
        processes: of the run, over all nodes; in every one of them the same number.

    Raises:
        ConfigError: no number of batches makes the global batch.
    """
    per_step = cfg.batch_size * processes
    if cfg.global_batch_size % per_step:
        raise ConfigError(
            f"global_batch_size is {cfg.global_batch_size}, but one step takes batch_size {cfg.batch_size} x "
            f"{processes} process(es) = {per_step} examples, which does not divide it. Choose a multiple of {per_step}."
        )
    return int(cfg.global_batch_size // per_step)


def settle(trainer: pl.Trainer, cfg: DictConfig) -> None:
    """Accumulate gradients to the global batch."""
    if cfg.global_batch_size is not None:
        trainer.accumulate_grad_batches = accumulation(cfg, trainer.world_size)
