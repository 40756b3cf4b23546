"""``job_type=train``: train, or continue the run in its directory."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from xlm_runtime import checkpoint, companions, kept_command, kept_data, kept_tokenizer, runs
from xlm_runtime.build import Parts, build_parts, build_trainer
from xlm_runtime.callbacks.keep import Keep
from xlm_runtime.errors import LostProcessError
from xlm_runtime.exits import report
from xlm_runtime.faults import plain_lost_processes, plain_memory_faults
from xlm_runtime.files import remove_unfinished
from xlm_runtime.jobs._ends import already_finished, conclude, nothing_left
from xlm_runtime.jobs._quiet import quiet
from xlm_runtime.metrics import LoaderKind
from xlm_runtime.provenance import overrides
from xlm_runtime.report.run_report import report_after
from xlm_runtime.signals import Stopped, at_once, requeue, say_last
from xlm_runtime.trainer import (
    check_monitored,
    end_at_whole_steps,
    leave_at_once,
    leave_if_one_is_lost,
    plain_exits,
    starts_processes,
    writes_nothing,
)


def run(cfg: DictConfig) -> float | None:
    """Train with the composed configuration and say at the end what came of it.

    Returns:
        The monitored metric at the end, where it was computed.

    Raises:
        Stopped: a signal has asked for it; the run is saved, and that is said.
    """
    quiet()
    run_dir = Path(cfg.run_dir)
    with ExitStack() as before_the_fit:  # which may take long: data are prepared
        before_the_fit.enter_context(at_once(lambda number: _ended_before_the_fit(number, run_dir)))
        return _run(cfg, run_dir, before_the_fit)


def _run(cfg: DictConfig, run_dir: Path, before_the_fit: ExitStack) -> float | None:
    opened = runs.open_run(run_dir, cfg)
    if opened.finished:
        already_finished(run_dir, opened.finished)
        return _number(opened.finished["metrics"].get(cfg.monitor.metric))
    contents = checkpoint.read(opened.last, checkpoint.BEGIN_AGAIN, mapped=True) if opened.last else {}
    begun = int(contents.get("global_step", 0))
    if (last := nothing_left(run_dir, cfg, opened, contents)) is not None:
        return _number(last.get(cfg.monitor.metric))
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    parts = build_parts(cfg, run_dir)
    if opened.last is not None:
        kept_tokenizer.check_same(parts.tokenizer, contents, opened.last)
    remarks = [*opened.remarks, kept_data.changed_data(parts.datamodule.dataset, contents)]
    del contents
    _check_prediction(parts)
    trainer = build_trainer(cfg)
    _look_after_one_another(trainer, run_dir)
    kept = {
        kept_tokenizer.KEY: kept_tokenizer.files_of(parts.tokenizer),
        kept_command.KEY: overrides(),
        kept_data.KEY: kept_data.content_of(parts.datamodule.dataset),
    }
    vars(trainer)["callbacks"].insert(0, Keep(kept))
    check_monitored(trainer, parts.harness.logged())
    end_at_whole_steps(trainer)
    metrics: dict[str, float] = {}
    ours = False  # not where another first command has come into the directory at the same moment
    with runs.removed_if_it_never_ran(run_dir, lambda: trainer.global_step > 0 or not ours), _alone(trainer, run_dir):
        ours = True
        if trainer.is_global_zero:
            print("".join(f"{remark}\n" for remark in remarks if remark), end="", flush=True)
        try:
            with (
                plain_exits(trainer),
                plain_memory_faults(cfg, "batch_size", "eval_batch_size"),
                plain_lost_processes(trainer.world_size, lambda: _remark(run_dir)),
            ):
                _fit(parts, trainer, run_dir, opened.last, begun, before_the_fit)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_interrupted(trainer, run_dir)) from None
        except Stopped as stopped:
            _say_stopped(stopped, trainer, run_dir)
            raise
        except LostProcessError as error:
            if companions.started() and not companions.first_was_killed():
                sys.exit(error.exit_code)  # the first process says it
            report(error)  # before all else: a launcher may end this process at any moment
            if companions.started():
                companions.forget()
            raise
        else:
            metrics = conclude(trainer, run_dir, begun)
        finally:  # also of a run that fails
            if trainer.is_global_zero and not writes_nothing(trainer) and trainer.global_step > 0:
                report_after(run_dir, curves=True)
    return _number(metrics.get(cfg.monitor.metric, trainer.callback_metrics.get(cfg.monitor.metric)))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


@contextmanager
def _alone(trainer: pl.Trainer, run_dir: Path) -> Iterator[None]:
    """Nobody else trains in this directory; of the processes of this run, the first one sees to it."""
    if writes_nothing(trainer) or not trainer.is_global_zero:
        yield
        return
    with runs.locked(run_dir):
        remove_unfinished(run_dir)
        remove_unfinished(run_dir / "checkpoints")
        yield


def _check_prediction(parts: Parts) -> None:
    """Let the predictor look at a batch of one: what it refuses would else end the run at its first validation."""
    collate = parts.datamodule.collators.get(LoaderKind.PREDICTION)
    check = getattr(parts.harness.predictor, "check_batch", None)
    if collate is not None and check is not None:
        check(collate([parts.datamodule.first_training_example()]))  # of the split that every run has


def _fit(parts: Parts, trainer: pl.Trainer, run_dir: Path, last: Path | None, begun: int, before: ExitStack) -> None:
    if not writes_nothing(trainer) and trainer.is_global_zero:
        if last is None:
            runs.save_config(run_dir, parts.cfg)
        else:  # a command that fails before it has trained a step leaves the run as it was
            vars(trainer)["callbacks"].append(_SaveConfig(run_dir, parts.cfg))
    if trainer.is_global_zero:
        _introduce(parts, trainer, begun)
    before.close()
    # Processes start here, and wait for one another before the first step: one that went alone would leave the others.
    with at_once(lambda number: leave_at_once(trainer, _at_once(number, trainer.is_global_zero, run_dir))):
        checkpoint_path = str(last) if last else None
        trainer.fit(parts.harness, datamodule=parts.datamodule, ckpt_path=checkpoint_path, weights_only=True)


def _look_after_one_another(trainer: pl.Trainer, run_dir: Path) -> None:
    """Where one process of several is lost, none of the others waits for it for ever, and it is said."""

    def words() -> str:
        return f"Error: Another process of this run has ended, and the others are ended with it. {_remark(run_dir)}"

    if starts_processes(trainer):
        companions.begin()
    companions.begin_job()
    if companions.started():
        companions.watch_first(words, say_last)
    elif companions.known():
        leave_if_one_is_lost(trainer, words)


class _SaveConfig(pl.Callback):
    """Writes a continued run's configuration once its first step is done."""

    def __init__(self, run_dir: Path, cfg: DictConfig) -> None:
        self.run_dir, self.cfg = run_dir, cfg
        self.done = False

    def on_train_batch_end(self, *args: Any) -> None:
        if not self.done:
            runs.save_config(self.run_dir, self.cfg)
            runs.forget_end(self.run_dir)
            self.done = True


def _interrupted(trainer: pl.Trainer, run_dir: Path) -> str:
    return f"Interrupted at step {trainer.global_step}. {_remark(run_dir)}"


def _at_once(number: int, first: bool, run_dir: Path) -> str:
    name = signal.Signals(number).name
    return f"Stopped at once by {name}. {_remark(run_dir)}{_requeued(name, first)}"


@rank_zero_only
def _ended_before_the_fit(number: int, run_dir: Path) -> None:
    say_last(_at_once(number, True, run_dir))


def _say_stopped(stopped: Stopped, trainer: pl.Trainer, run_dir: Path) -> None:
    if trainer.is_global_zero:
        words = f"Stopped by {stopped} at step {stopped.step}; saved. {_remark(run_dir)}"
        print(words + _requeued(str(stopped), True), file=sys.stderr, flush=True)


def _requeued(name: str, first: bool) -> str:
    """What came of asking SLURM for another go, as the first process does after SIGUSR1."""
    return f" {requeue()}" if name == "SIGUSR1" and first else ""


def _remark(run_dir: Path) -> str:
    last = checkpoint.find(run_dir, (checkpoint.LAST,))
    return f"The same command continues from {last}." if last else "No checkpoint to continue from was saved yet."


def _introduce(parts: Parts, trainer: pl.Trainer, begun: int) -> None:
    harness, cfg = parts.harness, parts.cfg
    parameters = sum(p.numel() for p in harness.parameters() if p.requires_grad)
    rows = {
        "model": f"{cfg.model._target_}, {parameters:,} parameters",
        "data": f"{cfg.dataset._target_}, {parts.datamodule.training_size()}",
        "device": f"{trainer.accelerator.__class__.__name__} x {trainer.num_devices}, {trainer.precision}",
        "run": str(cfg.run_dir) + (f", continued from step {begun}" if begun else ""),
    }
    for name, value in rows.items():
        print(f"{name:>7}  {value}", flush=True)
