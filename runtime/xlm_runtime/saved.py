"""A saved run, loaded: what eval, generate and the commands of models begin with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities import move_data_to_device
from omegaconf import DictConfig, OmegaConf

from xlm_runtime import checkpoint, exported, parts
from xlm_runtime.build import MakeExamples, Parts, build_parts, build_trainer
from xlm_runtime.errors import CheckpointError, ConfigError
from xlm_runtime.kept_tokenizer import restored
from xlm_runtime.metrics import LoaderKind
from xlm_runtime.runs import missing_run


@dataclass(frozen=True)
class SavedRun:
    """The parts of a run with the weights of one of its checkpoints.

    Attributes:
        parts: configuration, tokenizer, datamodule, and the Harness with model, loss and predictor.
        trainer: for one device, without loggers.
        path: of the checkpoint.
        step: the optimizer step at which it was saved.
    """

    parts: Parts
    trainer: pl.Trainer
    path: Path
    step: int

    def batches(self, kind: str = LoaderKind.LM) -> Iterator[Any]:
        """The batches of the configured split, in their order; the parts are ready for them: in evaluation, on the same
        device. Gradients are the caller's business.

        Args:
            kind: of the loader: ``lm`` for the loss's batches, ``prediction`` for the predictor's.

        Raises:
            ConfigError: the datamodule has no collator of this kind.
        """
        kinds = self.parts.datamodule.eval_kinds
        if kind not in kinds:
            raise ConfigError(f"There are no batches of kind {kind!r}; datamodule.collators has: {', '.join(kinds)}.")
        device = self.trainer.strategy.root_device
        harness = self.parts.harness.to(device).eval()
        parts.configure(harness.loss, harness)
        for batch in self.parts.datamodule.test_dataloader()[kinds.index(LoaderKind(kind))]:
            yield move_data_to_device(batch, device)


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
    with exported.version_named(path), restored(cfg, path):
        parts = build_parts(cfg, run_dir, examples)
        model: Any = OmegaConf.to_container(cfg.model)  # with its interpolations, as it is saved
        step = exported.load_weights(parts.harness, path, model)
    # On one device: several would pad the last batch with examples that they then count twice.
    one = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    trainer = build_trainer(cfg, logger=False, callbacks=list(callbacks), enable_checkpointing=False, **one)
    return SavedRun(parts, trainer, path, step)
