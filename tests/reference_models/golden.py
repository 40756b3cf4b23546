"""The losses of the first training steps of each reference model, kept in ``golden_<model>.json``.

Write them anew, from the top of the repository, when a change of the numbers is meant, and say why in the commit::

    python -m tests.reference_models.golden arlm
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor

from xlm_runtime.build import build_parts, build_trainer
from xlm_runtime.config import compose
from xlm_runtime.discovery import activate, discover

HERE = Path(__file__).resolve().parent
MODELS = HERE.parents[1] / "reference-models"

TINY = ("model.d_model=32", "model.num_layers=2", "model.num_heads=2", "model.d_ff=64")

#: The models that are held, and what makes each small. A further model needs a line here, and the command above.
HELD: Mapping[str, tuple[str, ...]] = {"arlm": TINY, "mlm": TINY, "ilm": TINY, "mdlm": TINY}
STEPS = 20


class Losses(pl.Callback):
    """The loss of every step, as it goes into the backward pass."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self.values.append(loss.item())


def losses(model: str, cache_dir: Path, *overrides: str) -> list[float]:
    """Train ``experiment=star_easy_<model>`` for 20 steps on one thread of the CPU, from seed 42."""
    words = [
        f"experiment=star_easy_{model}",
        *HELD[model],
        "dataset.sizes={train: 64, val: 8, test: 8}",
        "batch_size=16",
        "datamodule.shuffle=false",  # the order of the examples is not what is held here
        "seed=42",
        "optimizer.lr=0.01",
        "lr_scheduler.num_warmup_steps=4",
        f"trainer.max_steps={STEPS}",
        "trainer.limit_val_batches=0",
        "trainer.accelerator=cpu",
        f"cache_dir={cache_dir}",
        *overrides,
    ]
    with one_thread():
        cfg = compose(words)
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        parts = build_parts(cfg)
        recorded = Losses()
        trainer = build_trainer(cfg, callbacks=[recorded], logger=False, enable_checkpointing=False)
        trainer.fit(parts.harness, datamodule=parts.datamodule)
    return recorded.values


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums are taken in one order, whatever the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def golden_file(model: str) -> Path:
    return HERE / f"golden_{model}.json"


def main() -> None:
    os.environ["XLM_MODELS_PATH"] = str(MODELS)
    activate(discover(MODELS).models)
    for model in sys.argv[1:] or sorted(HELD):
        with tempfile.TemporaryDirectory() as cache:
            values = losses(model, Path(cache))
        text = json.dumps({"experiment": f"star_easy_{model}", "losses": [float(f"{v:.7g}") for v in values]}, indent=1)
        golden_file(model).write_text(text + "\n", encoding="utf-8")
        print(f"{golden_file(model)}: {values[0]:.6f} ... {values[-1]:.6f}")


if __name__ == "__main__":
    main()
