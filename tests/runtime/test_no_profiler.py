"""What stands in a profiler's place: usable as one, nested, and easily exchanged."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest

from xlm_runtime.callbacks.no_profiler import NoProfiler


def test_contexts_nest_and_let_exceptions_through() -> None:
    profiler = NoProfiler()
    with pytest.raises(KeyError), profiler.profile("outer"), profiler.profile("inner"):
        raise KeyError
    with profiler.profile("again"):
        pass
    assert profiler.summary() == ""


def test_a_trainer_takes_it() -> None:
    profiler = NoProfiler()
    trainer = pl.Trainer(profiler=profiler, logger=False, enable_checkpointing=False, accelerator="cpu")
    assert trainer.profiler is profiler
