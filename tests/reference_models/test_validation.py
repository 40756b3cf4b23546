"""The validation metrics of a model are numbers of the model: of no batch size and no worker.

Nor of processes: ``tests/e2e/test_processes.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from xlm_runtime.build import build_parts, build_trainer
from xlm_runtime.config import compose

MODELS = ("arlm", "mlm", "ilm", "mdlm")
LAYOUTS = {
    "one at a time": ("eval_batch_size=1",),
    "a batch that does not divide": ("eval_batch_size=5",),
    "workers": ("eval_batch_size=4", "num_workers=2"),
}


SMALL = ("model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=64", "trainer.accelerator=cpu")
TASKS = {
    "star_easy": ("dataset.sizes={train: 8, val: 13, test: 8}",),
    "pydoc": ("dataset.block_size=48", "datamodule.limit=13"),
}


def validate(model: str, task: str, cache: Path, *words: str) -> dict[str, float]:
    """The metrics of new weights, the same each time."""
    cfg = compose([f"experiment={task}_{model}", *SMALL, *TASKS[task], f"cache_dir={cache}", *words])
    torch.manual_seed(0)
    parts = build_parts(cfg)
    trainer = build_trainer(cfg, callbacks=[], logger=False, enable_checkpointing=False)
    (metrics,) = trainer.validate(parts.harness, datamodule=parts.datamodule, verbose=False)[:1]
    return {name: float(value) for name, value in trainer.callback_metrics.items()} | metrics


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", MODELS)
def test_metrics_do_not_depend_on_how_the_examples_are_dealt_out(model: str, task: str, cache: Path) -> None:
    expected = validate(model, task, cache, "eval_batch_size=13")
    assert "val/loss" in expected
    for layout, words in LAYOUTS.items():
        assert validate(model, task, cache, *words) == pytest.approx(expected, rel=2e-5), layout
