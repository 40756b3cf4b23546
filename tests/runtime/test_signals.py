"""A signal is heeded where a checkpoint can hold all that was done."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
import pytest
from test_resume import assert_equal, listing, rows, steps, weights

from xlm_runtime.signals import STOPPING, Stopped


class Signalled(pl.Callback):
    """Asks for an end as the validation after so many batches begins."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.fit_loop.total_batch_idx + 1 == self.batches:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def handlers() -> Iterator[None]:
    """A run that is to end listens to the end of its process, which is not that of the tests."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("batches", "stops"), [(6, 2), (12, 3), (18, 5)])
def test_a_signal_in_the_middle_of_an_accumulated_step_waits_for_its_end(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], batches: int, stops: int
) -> None:
    words = ("batch_size=2", "global_batch_size=8", "trainer.val_check_interval=6")
    steps(cache, tmp_path / "whole", 6, *words)
    cut = f"+callbacks.cut={{_target_: {__name__}.Signalled, batches: {batches}}}"
    with pytest.raises(Stopped):
        steps(cache, tmp_path / "halves", 6, *words, cut)
    assert f"Stopped by SIGTERM at step {stops}; saved." in capsys.readouterr().err
    steps(cache, tmp_path / "halves", 6, *words)
    assert_equal(weights(tmp_path / "halves"), weights(tmp_path / "whole"))
    assert rows(tmp_path / "halves") == rows(tmp_path / "whole")
    assert listing(tmp_path / "halves" / "predictions") == listing(tmp_path / "whole" / "predictions")
