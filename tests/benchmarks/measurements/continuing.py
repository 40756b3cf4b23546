"""What it costs to be able to continue: the stall of a step that saves, and the time to the first continued step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from measurements.common import Pairs, Result, Seconds, Settings, alternate, fastest, in_fresh_process, seconds_of
from measurements.startup import seconds_to_first_step

#: Some 1.2 million weights.
MODEL = ["model.d_model=128", "model.num_layers=4", "model.d_ff=512", "batch_size=64"]


def measure(settings: Settings) -> list[Result]:
    answer = in_fresh_process("continuing", "save", settings, repeats=settings.repeats(20, 5))
    saves = Pairs([Seconds(*t) for t in answer["ours"]], [Seconds(*t) for t in answer["plain"]])
    starts = _starts(settings, settings.repeats(4, 1))
    return [
        Result(
            name=f"a checkpoint of {answer['megabytes']:.1f} MB: a step's stall",
            ours=str(fastest(saves.a)),
            compared_with=f"torch.save of the same, synchronised: {fastest(saves.b)}",
            ratio=saves.ratio,
            processor_ratio=saves.processor_ratio,
            details=saves.details("ours", "plain"),
        ),
        Result(
            name="process start to first step of a continued run",
            ours=str(fastest(starts.a)),
            compared_with=f"of a run that begins: {fastest(starts.b)}",
            ratio=starts.ratio,
            processor_ratio=starts.processor_ratio,
            details=starts.details("continued", "begun"),
        ),
    ]


def _starts(settings: Settings, repeats: int) -> Pairs:
    words = ["experiment=star_easy_arlm", *MODEL, "trainer.accelerator=cpu", "trainer.val_check_interval=1000"]
    seconds_to_first_step(settings, [*words, "job_name=continued", "trainer.max_steps=20"])
    count = iter(range(1, 1000))

    def continued() -> Seconds:
        steps = 20 + 2 * next(count)
        return seconds_to_first_step(settings, [*words, "job_name=continued", f"trainer.max_steps={steps}"])

    def begun() -> Seconds:
        return seconds_to_first_step(settings, [*words, f"job_name=begun-{next(count)}", "trainer.max_steps=2"])

    return alternate(continued, begun, repeats)


def save(repeats: int) -> dict[str, Any]:
    """Times of ``trainer.save_checkpoint`` in a run, and of ``torch.save`` of what it wrote."""
    import os

    import lightning.pytorch as pl
    import torch

    from xlm_runtime import config, discovery
    from xlm_runtime.build import build_parts, build_trainer
    from xlm_runtime.jobs._quiet import quiet

    class Saves(pl.Callback):
        """Saves at every step after the third."""

        def __init__(self, file: Path) -> None:
            self.file = file
            self.ours: list[Seconds] = []
            self.plain: list[Seconds] = []

        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step <= 3:
                return
            self.ours.append(seconds_of(lambda: trainer.save_checkpoint(self.file)))
            contents = torch.load(self.file, weights_only=True)
            self.plain.append(seconds_of(lambda: self._save(contents)))

        def _save(self, contents: Any) -> None:
            with self.file.with_name("plain.ckpt").open("wb") as stream:
                torch.save(contents, stream)
                os.fsync(stream.fileno())

    quiet()
    discovery.activate(discovery.discover().models)
    words = [f"trainer.max_steps={3 + repeats}", "trainer.val_check_interval=1000", "trainer.accelerator=cpu"]
    cfg = config.compose(["experiment=star_easy_arlm", "job_name=saves", *MODEL, *words])
    parts = build_parts(cfg)
    saves = Saves(Path(cfg.run_dir) / "checkpoints" / "last.ckpt")
    trainer = build_trainer(cfg, callbacks=[saves], logger=False)
    trainer.fit(parts.harness, datamodule=parts.datamodule)
    return {"ours": saves.ours, "plain": saves.plain, "megabytes": saves.file.stat().st_size / 1e6}
