"""Steps a second of ``xlm job_type=train`` over those of a bare PyTorch loop that does the same work.

Both run in one process and in turn: after every SEGMENT steps of ``trainer.fit``, a callback runs as many steps
of the bare loop on its own copy of model, optimizer and loader, then lets training go on. Both see the same
batches from the same seeds, so the weights must be equal to the bit at the end, or the measurement is void.
SEGMENT is the logging interval of the default configuration: each segment pays for exactly one log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measurements.common import Pairs, Result, Settings, in_fresh_process

SEGMENT = 50
WARM_UP_SEGMENTS = 2
SIZES: dict[str, list[str]] = {
    "d128 x 4 layers, batch 64 x 42": ["model.d_model=128", "model.num_layers=4", "model.d_ff=512", "batch_size=64"],
    "d64 x 2 layers, batch 8 x 42": ["model.d_model=64", "model.num_layers=2", "model.d_ff=256", "batch_size=8"],
}
AIMS = (0.98, 0.90)
PRIOR = ("0.94", "0.72")


def measure(settings: Settings) -> list[Result]:
    segments = (settings.repeats(12, 3), settings.repeats(60, 15))  # a step of the second size is far shorter
    results = []
    for (words, overrides), aim, prior, count in zip(SIZES.items(), AIMS, PRIOR, segments, strict=True):
        answer = in_fresh_process("training", "train_both_ways", settings, overrides=overrides, segments=count)
        # Speeds are the inverse of times, so the ratio of ours over theirs is b / a.
        pairs = Pairs(answer["bare"], answer["ours"])
        results.append(
            Result(
                name=f"training, {words}, {answer['threads']} threads",
                ours=f"{SEGMENT / pairs.median_b:.1f} steps/s",
                compared_with=f"bare PyTorch loop: {SEGMENT / pairs.median_a:.1f} steps/s",
                ratio=pairs.ratio,
                aim=f"≥ {aim}",
                met=pairs.ratio >= aim,
                prior=prior,
                details={
                    "ours_seconds": answer["ours"],
                    "bare_seconds": answer["bare"],
                    "steps_a_segment": SEGMENT,
                    "ratio_of_fastest": min(answer["bare"]) / min(answer["ours"]),
                    "overhead_ms_a_step": (min(answer["ours"]) - min(answer["bare"])) / SEGMENT * 1e3,
                },
            )
        )
    return results


def train_both_ways(overrides: list[str], segments: int) -> dict[str, Any]:
    """The seconds of each counted segment, ours and bare."""
    import lightning.pytorch as pl
    import torch

    from xlm_runtime import config, discovery, runs
    from xlm_runtime.build import build_parts, build_trainer
    from xlm_runtime.jobs._quiet import quiet

    class Turns(pl.Callback):
        """Times a segment of training, then one of the bare loop."""

        def __init__(self, bare: Iterator[None]) -> None:
            self.bare = bare
            self.seconds: dict[str, list[float]] = {"ours": [], "bare": []}
            self._start = 0.0

        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self._start = time.perf_counter()

        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step % SEGMENT:
                return
            middle = time.perf_counter()
            for _ in range(SEGMENT):
                next(self.bare)
            end = time.perf_counter()
            self.seconds["ours"].append(middle - self._start)
            self.seconds["bare"].append(end - middle)
            self._start = time.perf_counter()

    quiet()
    steps = SEGMENT * (segments + WARM_UP_SEGMENTS)
    discovery.activate(discovery.discover().models)
    cfg = config.compose(
        [
            "experiment=star_easy_arlm",
            "job_name=training",
            f"trainer.max_steps={steps}",
            f"trainer.val_check_interval={steps + 1}",  # validation is no part of a training step
            "trainer.accelerator=cpu",
            *overrides,
        ]
    )
    runs.save_config(Path(cfg.run_dir), cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    other = build_parts(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    parts = build_parts(cfg, Path(cfg.run_dir))
    trainer = build_trainer(cfg)
    turns = Turns(bare_loop(other, cfg.trainer.gradient_clip_val))
    trainer.callbacks.append(turns)
    trainer.fit(parts.harness, datamodule=parts.datamodule, weights_only=True)
    for (name, ours), bare in zip(parts.harness.named_parameters(), other.harness.parameters(), strict=True):
        assert torch.equal(ours, bare), f"{name} differs: the two loops did not do the same work"
    return {
        "ours": turns.seconds["ours"][WARM_UP_SEGMENTS:],
        "bare": turns.seconds["bare"][WARM_UP_SEGMENTS:],
        "threads": torch.get_num_threads(),
    }


def bare_loop(parts: Any, clip: float) -> Iterator[None]:
    """Training as one would write it by hand; one step each ``next``."""
    from torch.nn.utils import clip_grad_norm_

    setup = parts.harness.configure_optimizers()
    optimizer, scheduler = setup["optimizer"], setup["lr_scheduler"]["scheduler"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    loss_fn = parts.harness.loss.loss_fn
    loader = parts.datamodule.train_dataloader()
    while True:
        for batch in loader:
            optimizer.zero_grad()
            loss_fn(batch)["loss"].backward()
            clip_grad_norm_(parameters, clip)
            optimizer.step()
            scheduler.step()
            yield
