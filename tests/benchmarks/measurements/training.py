"""Steps a second of ``xlm job_type=train`` over those of a bare PyTorch loop that does the same work.

Both run in one process and in turn: after every segment of steps of ``trainer.fit``, a callback runs as many steps
of the bare loop on its own copy of model, optimizer and loader, then lets training go on. Both see the same
batches from the same seeds, so the weights must be equal after the first segment, but for rounding, or the
measurement is void.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from measurements.common import Pairs, Result, Seconds, Settings, fastest, in_fresh_process, now

WARM_UP_STEPS = 20


@dataclass(frozen=True)
class Size:
    """A model and batch, the aim for it and the prior system's figure.

    ``segment``: steps of one side before the other has its turn. Short, so that both meet the same noise; of the
    short steps as many as the logging interval, so that each segment pays for exactly one log.
    """

    words: str
    overrides: list[str]
    segment: int
    segments: tuple[int, int]  # usual, quick
    aim: float
    prior: str
    precision: str = "32-true"


SIZES = (
    Size(
        "d128 x 4 layers, batch 64 x 42",
        ["model.d_model=128", "model.num_layers=4", "model.d_ff=512", "batch_size=64"],
        segment=5,
        segments=(60, 15),
        aim=0.98,
        prior="0.94",
    ),
    Size(
        "the same with averaged weights",
        ["model.d_model=128", "model.num_layers=4", "model.d_ff=512", "batch_size=64", "ema_decay=0.999"],
        segment=5,
        segments=(40, 10),
        aim=0.95,
        prior="",
    ),
    Size(
        "d64 x 2 layers, batch 8 x 42",
        ["model.d_model=64", "model.num_layers=2", "model.d_ff=256", "batch_size=8"],
        segment=50,
        segments=(80, 20),
        aim=0.90,
        prior="0.72",
    ),
)
#: A GPU is done with the first of these before the next step is asked for: there the processor's part is measured.
GPU_SIZES = (
    replace(SIZES[0], segment=50, segments=(20, 5)),
    Size(
        "small (d768 x 12 layers), batch 64 x 42",
        ["model=arlm_small", "model.dropout=0", "batch_size=64"],
        segment=50,
        segments=(10, 4),
        aim=0.98,
        prior="",
    ),
    Size(
        "small, bf16-mixed, batch 512 x 42",
        ["model=arlm_small", "model.dropout=0", "batch_size=512"],
        segment=50,
        segments=(10, 4),
        aim=0.98,
        prior="",
        precision="bf16-mixed",
    ),
)


def measure(settings: Settings) -> list[Result]:
    results = []
    for size in SIZES if settings.device == "cpu" else GPU_SIZES:
        answer = in_fresh_process(
            "training",
            "train_both_ways",
            settings,
            overrides=size.overrides,
            segment=size.segment,
            segments=settings.repeats(*size.segments),
            accelerator=settings.accelerator,
            precision=size.precision,
        )
        # Speeds are the inverse of times, so the ratio of our speed over theirs is their time over ours.
        pairs = Pairs([Seconds(*t) for t in answer["bare"]], [Seconds(*t) for t in answer["ours"]])
        threads = answer["threads"]
        results.append(
            Result(
                name=f"training, {size.words}, {settings.on(threads)}",
                ours=f"{size.segment / fastest(pairs.b).wall:.1f} steps/s",
                compared_with=f"bare PyTorch loop: {size.segment / fastest(pairs.a).wall:.1f} steps/s",
                ratio=pairs.ratio,
                processor_ratio=pairs.processor_ratio,
                aim=f"≥ {size.aim}",
                met=pairs.ratio >= size.aim,
                prior=size.prior,
                details={"steps_a_segment": size.segment, "weights differ by": answer["difference"]}
                | pairs.details("bare", "ours"),
            )
        )
    return results


def train_both_ways(
    overrides: list[str], segment: int, segments: int, accelerator: str, precision: str
) -> dict[str, Any]:
    """The times of each counted segment, ours and bare."""
    import lightning.pytorch as pl
    import torch

    from xlm_runtime import config, discovery, runs
    from xlm_runtime.build import build_parts, build_trainer
    from xlm_runtime.jobs._quiet import quiet

    class Turns(pl.Callback):
        """Times a segment of training, then one of the bare loop."""

        def __init__(self, bare: Iterator[None]) -> None:
            self.bare = bare
            self.ours: list[Seconds] = []
            self.theirs: list[Seconds] = []
            self.difference = 0.0  # between the weights, after the first segment
            self._start = now()

        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step % segment:
                return
            middle = now()
            for _ in range(segment):
                next(self.bare)
            end = now()
            if not self.ours:
                pairs = zip(parts.harness.parameters(), other.harness.parameters(), strict=True)
                self.difference = max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)
            self.ours.append(middle - self._start)
            self.theirs.append(end - middle)
            self._start = now()

    quiet()
    warm_up = -(-WARM_UP_STEPS // segment)  # segments that are not counted, the first among them
    steps = segment * (warm_up + segments)
    discovery.activate(discovery.discover().models)
    cfg = config.compose(
        [
            "experiment=star_easy_arlm",
            "job_name=training",
            f"trainer.max_steps={steps}",
            f"trainer.val_check_interval={steps + 1}",  # validation is no part of a training step
            f"trainer.accelerator={accelerator}",
            f"trainer.precision={precision}",
            *overrides,
        ]
    )
    runs.save_config(Path(cfg.run_dir), cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    other = build_parts(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    parts = build_parts(cfg, Path(cfg.run_dir))
    trainer = build_trainer(cfg)
    turns = Turns(bare_loop(other, cfg.trainer.gradient_clip_val, trainer.strategy.root_device, precision))
    trainer.callbacks.append(turns)
    trainer.fit(parts.harness, datamodule=parts.datamodule, weights_only=True)
    # A GPU adds in an order of its own, and some processors round a norm in one of two ways; it grows with the steps.
    assert turns.difference < (1e-4 if accelerator == "cpu" else 1e-2), "the two loops did not do the same work"
    return {
        "ours": turns.ours[warm_up:],
        "bare": turns.theirs[warm_up:],
        "threads": torch.get_num_threads(),
        "difference": turns.difference,
    }


def bare_loop(parts: Any, clip: float, device: Any, precision: str) -> Iterator[None]:
    """Training as one would write it by hand; one step each ``next``."""
    import torch
    from lightning.pytorch.utilities import move_data_to_device
    from torch.nn.utils import clip_grad_norm_

    half = precision == "bf16-mixed"
    parts.harness.to(device)
    setup = parts.harness.configure_optimizers()
    optimizer, scheduler = setup["optimizer"], setup["lr_scheduler"]["scheduler"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    loss_fn = parts.harness.loss.loss_fn
    loader = parts.datamodule.train_dataloader()
    while True:
        for batch in loader:
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss = loss_fn(move_data_to_device(batch, device))["loss"]
            loss.backward()
            clip_grad_norm_(parameters, clip)
            optimizer.step()
            scheduler.step()
            yield
