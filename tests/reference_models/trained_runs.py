"""Runs of every reference model, one step each: enough for what is asked of saved models, not of what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xlm_runtime.cli import main

MODELS = ("arlm", "mlm", "ilm", "mdlm")
SMALL = ("model.d_model=32", "model.num_layers=2", "model.num_heads=2", "model.d_ff=64", "trainer.max_steps=1")
TEXT = (*SMALL, "dataset.block_size=48", "batch_size=4", "datamodule.limit=8")
STAR = (*SMALL, "dataset.sizes={train: 4, val: 4, test: 4}", "batch_size=4")

#: ``xlm(*words)``: exit code, output, errors.
Xlm = Callable[..., tuple[int, str, str]]


def train_all(directory: Path) -> Path:
    """``directory/runs``, with text_<model> and star_<model>."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv("XLM_CACHE_DIR", str(directory / "cache"))
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        for model in MODELS:
            for task, experiment, words in (("text", "pydoc", TEXT), ("star", "star_easy", STAR)):
                main(["job_type=train", f"experiment={experiment}_{model}", f"job_name={task}_{model}", *words])
    return directory / "runs"
