"""Facts of a Trainer that Lightning sets on it without declaring them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from xlm_runtime import companions
from xlm_runtime.errors import ConfigError, LostProcessError, did_you_mean
from xlm_runtime.signals import say_last


def log_interval(trainer: pl.Trainer) -> int:
    """Steps between two logs of training."""
    return int(vars(trainer)["log_every_n_steps"]) or sys.maxsize  # 0: never


def writes_nothing(trainer: pl.Trainer) -> bool:
    """Whether this is a ``fast_dev_run``: a few steps to see that nothing is broken."""
    return bool(vars(trainer)["fast_dev_run"])


def validates_now(trainer: pl.Trainer) -> bool:
    """Whether a validation follows the batch that is just done."""
    loop, data_fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    # Lightning's own rule, of steps, epochs and time; it has no public name.
    return data_fetcher is not None and trainer.enable_validation and loop._should_check_val_fx(data_fetcher)


def ends_now(trainer: pl.Trainer) -> bool:
    """Whether ``trainer.should_stop`` ends the training behind the batch that is just done."""
    return trainer.should_stop and trainer.fit_loop._can_stop_early


def what_ended(trainer: pl.Trainer) -> str:
    """The setting that ended the training: ``trainer.max_steps`` and the like, or ``callbacks (EarlyStopping)``."""
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return "trainer.max_steps"
    if not ends_now(trainer):
        return "trainer.max_epochs"
    callbacks = vars(trainer)["callbacks"]
    if any(
        (left := timer.time_remaining()) is not None and left <= 0 for timer in callbacks if isinstance(timer, Timer)
    ):
        return "trainer.max_time"
    stopping = [type(callback).__name__ for callback in callbacks if isinstance(callback, EarlyStopping)]
    return f"callbacks ({', '.join(stopping)})" if stopping else "callbacks"


def end_at_whole_steps(trainer: pl.Trainer) -> None:
    """Let ``trainer.should_stop``, of ``max_time`` and of every callback, wait for the end of an optimizer step.

    Where gradients are accumulated, Lightning would end behind any batch, and those of the batches since the last step
    would be lost: no checkpoint holds them, and a continued run would make another step than one that never stopped.
    """
    trainer.fit_loop.__class__ = _WholeSteps  # Lightning makes it, and has no other way to say when it may end


class _WholeSteps(_FitLoop):
    @property
    def _can_stop_early(self) -> bool:
        return super()._can_stop_early and not self.epoch_loop._should_accumulate()


def count_steps(trainer: pl.Trainer) -> None:
    """Let Lightning log at the number of steps that are done. To be called before a batch.

    It counts them for its loggers, after the validation that may follow a step, and rather late for a checkpoint: a
    continued run would log one off, for good, depending on where in Lightning's loops the checkpoint was made.
    """
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


def leave_signals_to_us(trainer: pl.Trainer) -> None:
    """Switch off what Lightning does before every step of several processes: tell one another whether one was
    signalled, and wait for the answer. ``LastCheckpoint`` asks now and then.
    """
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def leave_at_once(trainer: pl.Trainer, words: str) -> None:
    """What a process does last that a signal ends: no other one waits for it, and its words are said."""
    if trainer.strategy.launcher is not None:  # the processes that this one has started may wait for it for ever
        trainer.strategy.launcher.kill(signal.SIGKILL)
    if trainer.is_global_zero:
        say_last(words)


def starts_processes(trainer: pl.Trainer) -> bool:
    """Whether this process starts the others of the run itself; no launcher, such as torchrun, has."""
    launcher = trainer.strategy.launcher
    return (
        isinstance(launcher, _SubprocessScriptLauncher)
        and not launcher.cluster_environment.creates_processes_externally
        and trainer.is_global_zero
    )


def leave_if_one_is_lost(trainer: pl.Trainer, words: Callable[[], str]) -> None:
    """Let the run end with these words where one of the processes that this one has started, or is to start, has
    failed, and this one waits for it. Lightning kills all of them after some seconds, and says nothing.
    """
    launcher = trainer.strategy.launcher
    if launcher is None:
        return
    launch = launcher.launch

    def end() -> None:
        for thread in _observers():
            for process in thread._child_processes:
                process.kill()
        leave_at_once(trainer, words())
        companions.forget()
        os._exit(LostProcessError.exit_code)

    def watched(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def begin(*args: Any, **kwargs: Any) -> Any:
            for thread in _observers():  # of the processes that are started now, or were by an earlier job of a sweep
                thread._terminate_all = end  # type: ignore[method-assign]
            return function(*args, **kwargs)

        return launch(begin, *args, **kwargs)

    launcher.launch = watched  # type: ignore[method-assign]


def _observers() -> list[_ChildProcessObserver]:
    return [thread for thread in threading.enumerate() if isinstance(thread, _ChildProcessObserver)]


def check_monitored(trainer: pl.Trainer, logged: Sequence[str]) -> None:
    """Refuse a callback that waits for a metric which never comes: Lightning would notice after the first validation.
    One that is not ``strict`` about it may wait: debug=overfit stops at an exact match, where there is one.

    Args:
        trainer: with its callbacks.
        logged: the names of all that the run logs.

    Raises:
        ConfigError: names the callback, the metric, and what is logged.
    """
    for callback in vars(trainer)["callbacks"]:
        metric = getattr(callback, "monitor", None)
        if metric is not None and metric not in logged and getattr(callback, "strict", True):
            raise ConfigError(
                f"{type(callback).__name__} monitors '{metric}', which this run does not log "
                f"(config key 'monitor.metric', or the callback's own). {did_you_mean(metric, logged)}\n"
                f"Logged: {', '.join(logged)}."
            )


@contextmanager
def plain_exits(trainer: pl.Trainer) -> Iterator[None]:
    """What Lightning makes of Ctrl-C and of a configuration that it cannot use, as the command line expects them.

    Raises:
        KeyboardInterrupt: Lightning, after its own shutdown, would exit with status 1.
        ConfigError: Lightning refuses a setting.
    """
    try:
        yield
    except SystemExit:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning has switched it off
        raise KeyboardInterrupt from None
    except MisconfigurationException as error:
        raise ConfigError(f"Lightning cannot use this configuration: {str(error).strip()}") from error
