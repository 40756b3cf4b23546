"""The end of a training: noted in the run's directory, and said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from xlm_runtime import checkpoint, runs
from xlm_runtime.curves import last_validation
from xlm_runtime.report.run_report import report_after
from xlm_runtime.trainer import what_ended, writes_nothing

_STEPS = "trainer.max_steps"


@rank_zero_only
def already_finished(run_dir: Path, end: Mapping[str, Any]) -> None:
    """Say of a run that is finished that nothing was done."""
    values = "".join(f", {name} {value:.4f}" for name, value in end["metrics"].items())
    print(f"{run_dir} is finished: step {end['step']}{values}. {_advice(end.get('ended', _STEPS))}")


def nothing_left(
    run_dir: Path, cfg: DictConfig, opened: runs.Opened, contents: Mapping[str, Any]
) -> dict[str, float] | None:
    """See from its checkpoint whether a run has anything to train, before it is built.

    A run that was killed between its last checkpoint and the note of its end gets that note now. One that has been
    further than this command asks for is left as it is.

    Args:
        run_dir: of the run.
        cfg: the configuration of this command.
        opened: what was found in the directory.
        contents: of the checkpoint to continue from; empty where there is none.

    Returns:
        The metrics of the last validation; None where there is something to train.
    """
    step, most = int(contents.get("global_step", 0)), cfg.trainer.max_steps
    enough = isinstance(most, int) and 0 < most <= step
    ended = _STEPS if enough else contents.get(checkpoint.END)
    if not contents or cfg.trainer.get("fast_dev_run") or ended is None or (opened.changed and not enough):
        return None
    metrics = last_validation(run_dir)
    _say_what_was_done(run_dir, opened, step, metrics, ended)
    return metrics


@rank_zero_only
def _say_what_was_done(run_dir: Path, opened: runs.Opened, step: int, metrics: Mapping[str, float], ended: str) -> None:
    if opened.remarks:
        print("\n".join(opened.remarks), flush=True)
    if opened.changed:
        print(f"{run_dir} is at step {step} already, and trainer.max_steps asks for no more. {_advice(_STEPS)}")
        return
    with runs.locked(run_dir):
        _note(run_dir, step, metrics, ended)
        report_after(run_dir, curves=True)


def conclude(trainer: pl.Trainer, run_dir: Path, begun: int) -> dict[str, float]:
    """Note the end and say it; returns the metrics of the last validation."""
    metrics = {
        name: float(value) for name, value in sorted(trainer.callback_metrics.items()) if not name.startswith("train/")
    }
    if not metrics and trainer.global_step == begun:  # killed between its last checkpoint and this
        metrics = last_validation(run_dir)
    if trainer.is_global_zero:
        _note(run_dir, trainer.global_step, metrics, what_ended(trainer), write=not writes_nothing(trainer))
    return metrics


def _note(run_dir: Path, step: int, metrics: Mapping[str, float], ended: str, write: bool = True) -> None:
    if write:
        runs.save_end(run_dir, step, metrics, ended)
    best = checkpoint.find(run_dir, (checkpoint.BEST,))
    values = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "no validation was run"
    print(f"finished at step {step}: {values}" + (f"; best checkpoint {best}" if best else ""))


def _advice(ended: str) -> str:
    """What to do about a run with nothing left to train, by the setting that ended it."""
    if ended.startswith("trainer."):
        on = f"a larger {ended} trains on"
    else:
        on = f"it was ended by {ended}, and trains on when its settings are changed"
    return f"Nothing was done: {on}, another job_name begins anew."
