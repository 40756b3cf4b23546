"""A saved run, loaded: what eval and generate begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
from omegaconf import DictConfig

from xlm_runtime import checkpoint, exported
from xlm_runtime.build import MakeExamples, Parts, build_parts, build_trainer
from xlm_runtime.errors import CheckpointError
from xlm_runtime.runs import missing_run


@dataclass(frozen=True)
class SavedRun:
    """The parts of a run with the weights of one of its checkpoints."""

    parts: Parts
    trainer: pl.Trainer
    path: Path
    step: int


def load_run(cfg: DictConfig, examples: MakeExamples | None = None, callbacks: Sequence[pl.Callback] = ()) -> SavedRun:
    """Build the configured parts and load ``ckpt_path``, or else the best checkpoint of ``run_dir``.

    Args:
        cfg: the run's configuration.
        examples: makes what is predicted; None: the configured dataset.
        callbacks: of the Trainer.

    Raises:
        CheckpointError: there is none, or its weights do not fit.
    """
    run_dir = Path(cfg.run_dir)
    path = exported.source(str(cfg.ckpt_path)) if cfg.ckpt_path else checkpoint.find(run_dir)
    if path is None and not run_dir.is_dir():
        raise missing_run(run_dir)
    if path is None:
        raise CheckpointError(
            f"{run_dir} holds no checkpoint (checkpoints/best.ckpt or last.ckpt): the run ended before its first. "
            "Train it further with the command that started it."
        )
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    parts = build_parts(cfg, run_dir, examples)
    step = exported.load_weights(parts.harness, path, str(cfg.model._target_))
    # On one device: several would pad the last batch with examples that they then count twice.
    one = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    trainer = build_trainer(cfg, logger=False, callbacks=list(callbacks), enable_checkpointing=False, **one)
    return SavedRun(parts, trainer, path, step)
