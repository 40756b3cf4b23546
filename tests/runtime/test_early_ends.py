"""A training that a clock or a callback ends goes on as if it had not ended, also where gradients are accumulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from test_resume import assert_equal, rows, steps, weights

#: Four batches a step: the fifth is the first of step 2, and a validation stands in its middle.
WORDS = ("batch_size=2", "global_batch_size=8", "trainer.val_check_interval=6")


class Clock(pl.Callback):
    """A second a batch."""

    seconds = 0.0

    def on_train_batch_start(self, *args: Any) -> None:
        Clock.seconds += 1.0


class Asks(pl.Callback):
    """Asks for an end behind the fifth batch."""

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.fit_loop.total_batch_idx + 1 == 5:
            trainer.should_stop = True


EARLY = "lightning.pytorch.callbacks.EarlyStopping, monitor: val/loss, stopping_threshold: 1e9"
#: Twelve batches are an epoch, three steps.
EPOCH = f"{EARLY}, check_on_train_epoch_end: true"


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps in one go."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    steps(cache, run_dir, 6, *WORDS)
    return run_dir


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (2, ("trainer.max_time={seconds: 5}", f"+callbacks.clock={{_target_: {__name__}.Clock}}")),
        (2, (f"+callbacks.early={{_target_: {EARLY}}}",)),
        (3, (f"+callbacks.early={{_target_: {EPOCH}}}",)),
        (2, (f"+callbacks.asks={{_target_: {__name__}.Asks}}",)),
        (2, (f"+callbacks.asks={{_target_: {__name__}.Asks}}", "trainer.limit_val_batches=0")),
    ],
    ids=["max_time", "early stopping", "behind an epoch", "callback", "callback, no validation"],
)
def test_what_ends_in_the_middle_of_an_accumulated_step_waits_for_its_end(
    cache: Path, run_dir: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, end: int, words: tuple[str, ...]
) -> None:
    Clock.seconds = 0.0
    monkeypatch.setattr(pl.callbacks.Timer, "time_elapsed", lambda *args: Clock.seconds)
    steps(cache, run_dir, 6, *WORDS, *words)
    assert weights(run_dir)["step"] == end
    steps(cache, run_dir, 6, *WORDS)
    assert_equal(weights(run_dir), weights(whole))
    assert but_for_the_end(run_dir, end) == but_for_the_end(whole, end)


def test_what_ends_behind_an_epoch_without_a_validation_goes_on(cache: Path, run_dir: Path, tmp_path: Path) -> None:
    words = (*WORDS[:2], "trainer.val_check_interval=8")
    steps(cache, tmp_path / "whole", 6, *words)
    steps(cache, run_dir, 6, *words, f"+callbacks.early={{_target_: {EPOCH}}}")
    assert weights(run_dir)["step"] == 3
    steps(cache, run_dir, 6, *words)
    assert_equal(weights(run_dir), weights(tmp_path / "whole"))
    assert rows(run_dir) == rows(tmp_path / "whole")


@pytest.mark.parametrize(
    ("end", "words", "advice"),
    [
        (2, (f"+callbacks.early={{_target_: {EARLY}}}",), "ended by callbacks (EarlyStopping)"),
        # A checkpoint of the interval stands already where the epoch ends.
        (3, (f"+callbacks.early={{_target_: {EPOCH}}}", "checkpoint_every_n_steps=3"), "callbacks (EarlyStopping)"),
        (
            2,
            ("trainer.max_time={seconds: 5}", f"+callbacks.clock={{_target_: {__name__}.Clock}}"),
            "larger trainer.max_t",
        ),
    ],
    ids=["early stopping", "behind an epoch", "max_time"],
)
def test_a_run_that_was_killed_as_its_end_was_noted_has_ended(
    cache: Path,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    end: int,
    words: tuple[str, ...],
    advice: str,
) -> None:
    Clock.seconds = 0.0
    monkeypatch.setattr(pl.callbacks.Timer, "time_elapsed", lambda *args: Clock.seconds)
    words = (*WORDS[:2], "trainer.val_check_interval=8", *words)
    steps(cache, run_dir, 6, *words)
    before, logged, noted = weights(run_dir), rows(run_dir), read_json(run_dir / "finished.json")
    (run_dir / "finished.json").unlink()
    for said in (f"finished at step {end}: val/", advice):
        capsys.readouterr()
        steps(cache, run_dir, 6, *words)
        assert said in capsys.readouterr().out
        found = read_json(run_dir / "finished.json")
        assert found["metrics"] == pytest.approx(noted["metrics"])
        assert (found["step"], found["ended"]) == (noted["step"], noted["ended"])
    assert_equal(weights(run_dir), before)
    assert rows(run_dir) == logged


def test_a_run_that_has_been_further_is_left_as_it_is(
    cache: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps(cache, run_dir, 4)
    before = {file: file.stat().st_mtime_ns for file in run_dir.rglob("*")}
    steps(cache, run_dir, 3)
    out = capsys.readouterr().out
    assert (
        "trainer.max_steps: 4 -> 3\n" in out
        and "is at step 4 already, and trainer.max_steps asks for no more. Nothing" in out
    )
    assert {file: file.stat().st_mtime_ns for file in run_dir.rglob("*")} == before


def read_json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8")))


def but_for_the_end(run_dir: Path, end: int) -> list[dict[str, str]]:
    """All that was logged; the end has a validation of its own."""
    return [{k: v for k, v in row.items() if row["step"] != str(end) or "val/" not in k} for row in rows(run_dir)]
