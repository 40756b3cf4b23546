"""The reference models on a few star graphs, with one layer: enough to see what an option does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from golden import MODELS
from omegaconf import OmegaConf

from xlm_runtime.build import Parts, build_parts
from xlm_runtime.config import compose

SMALL = (
    *("model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=64"),
    *("dataset.sizes={train: 4, val: 4, test: 4}", "batch_size=4"),
)


def words(model: str, cache: Path, *overrides: str) -> list[str]:
    """The command line of a small model."""
    return [f"experiment=star_easy_{model}", *SMALL, f"cache_dir={cache}", *overrides]


def built(model: str, cache: Path, *overrides: str) -> Parts:
    """Its parts, of seed 0, without dropout."""
    torch.manual_seed(0)
    parts = build_parts(compose(words(model, cache, *overrides)))
    parts.harness.eval()
    return parts


def options_of(model: str) -> set[str]:
    """The keys of loss and predictor that the model's file of options names: ``loss.seed`` and the like."""
    file = OmegaConf.load(MODELS / model / "configs" / "model_type" / f"{model}.yaml")
    return {f"{part}.{name}" for part in ("loss", "predictor") for name in file[part] if name != "_target_"}


def predict(parts: Parts) -> list[dict[str, Any]]:
    """The rows of four graphs."""
    examples = [parts.datamodule.examples("val")[i] for i in range(4)]
    batch = parts.datamodule.collators["prediction"](examples)
    preds = parts.harness.predictor.predict(batch)
    rows: list[dict[str, Any]] = parts.harness.predictor.to_dict(batch, preds)
    return rows
