"""Between two logs, no training step waits for the GPU."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from conftest import MODELS

from xlm_runtime import config, discovery
from xlm_runtime.build import build_parts, build_trainer

LOG = 10


class Waits(pl.Callback):
    """Counts what torch calls a synchronizing operation, in each step, from the end of the one before."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.where: list[str] = []
        self._caught: Any = None

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.close()
        self._context = warnings.catch_warnings(record=True)
        self._caught = self._context.__enter__()
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")

    def close(self) -> None:
        torch.cuda.set_sync_debug_mode("default")
        if self._caught is None:
            return
        self._context.__exit__(None, None, None)
        found = [w for w in self._caught if "synchroniz" in str(w.message)]
        self.counts.append(len(found))
        self.where += [f"{w.filename}:{w.lineno}" for w in found]
        self._caught = None


@pytest.mark.parametrize("model", ["arlm", "mlm", "ilm", "mdlm"])
@pytest.mark.parametrize("words", [(), ("trainer.precision=bf16-mixed", "ema_decay=0.99")], ids=["plain", "bf16, EMA"])
def test_no_step_between_two_logs_waits_for_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XLM_MODELS_PATH", str(MODELS))
    monkeypatch.setenv("XLM_CACHE_DIR", str(tmp_path / "cache"))
    discovery.activate(discovery.discover().models)
    cfg = config.compose(
        [
            f"experiment=star_easy_{model}", "job_name=waits", "datamodule.limit=2560", "trainer.accelerator=gpu",
            f"trainer.max_steps={3 * LOG}", f"trainer.log_every_n_steps={LOG}", "trainer.val_check_interval=1000",
            "checkpoint_every_n_steps=1000", *words,
        ]
    )  # fmt: skip
    parts = build_parts(cfg, tmp_path / "runs")
    waits = Waits()
    trainer = build_trainer(cfg)
    trainer.callbacks.append(waits)
    trainer.fit(parts.harness, datamodule=parts.datamodule)
    waits.close()
    # counts[i] is of step i + 2: the first one's is not counted, nor is what comes after the last.
    quiet = [count for step, count in enumerate(waits.counts[: 3 * LOG - 2], 2) if step % LOG]
    assert not any(quiet), f"{waits.counts}: {sorted(set(waits.where))}"
