"""Progress: plain lines where the output is no terminal, a bar where it is."""

from __future__ import annotations

import re
from typing import Any

import pytest
import tiny_parts as tiny

from xlm_runtime.callbacks.progress import Progress


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def fit(capsys: pytest.CaptureFixture[str], progress: Progress, **trainer: Any) -> list[str]:
    """The lines that six steps print."""
    settings: dict[str, Any] = {"max_steps": 6, "log_every_n_steps": 2, "limit_val_batches": 1.0}
    datamodule = tiny.make_datamodule(dataset={"train": tiny.examples(40), "val": tiny.examples(10)})
    tiny.make_trainer(callbacks=[progress], **(settings | trainer)).fit(tiny.make_harness(), datamodule=datamodule)
    return capsys.readouterr().out.splitlines()


def test_off_a_terminal_each_log_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = fit(capsys, Progress(seconds=0), limit_val_batches=0)
    assert len(lines) == 3
    for step, line in zip((2, 4, 6), lines, strict=True):
        assert re.fullmatch(rf"step {step}  loss \d+\.\d{{4}}  [\d.]+ steps/s  \d+ s left", line), line


def test_each_validation_prints_its_metrics_and_not_those_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    lines = fit(capsys, Progress(seconds=1e9), val_check_interval=3)
    assert len(lines) == 2
    for step, line in zip((3, 6), lines, strict=True):
        assert re.fullmatch(rf"step {step}  val/loss \d+\.\d{{4}}  val/right 0\.4000", line), line


def test_lines_are_at_least_so_many_seconds_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(capsys, Progress(seconds=1e9), limit_val_batches=0) == []


def test_the_printed_loss_is_the_logged_one(capsys: pytest.CaptureFixture[str]) -> None:
    memory = tiny.Memory()
    lines = fit(capsys, Progress(seconds=0), limit_val_batches=0, logger=memory)
    printed = [float(line.split()[3]) for line in lines]
    assert printed == [pytest.approx(value, abs=1e-4) for _, value in memory.values("train/loss")]


def test_without_a_last_step_no_time_is_said_to_be_left(capsys: pytest.CaptureFixture[str]) -> None:
    lines = fit(capsys, Progress(seconds=0), limit_val_batches=0, max_steps=-1, max_epochs=1)
    assert lines
    assert not [line for line in lines if "left" in line]


def test_a_sanity_check_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(capsys, Progress(seconds=1e9), num_sanity_val_steps=1, val_check_interval=100) == []


def test_on_a_terminal_there_is_a_bar_and_its_end_is_reached(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", "\n".join(fit(capsys, Progress(seconds=0), val_check_interval=6)))
    assert re.search(r"train .*6/6", text)
    assert re.search(r"step 6  val/loss \d", text)
    assert "steps/s" in text


def test_a_failure_leaves_no_bar_behind(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails(tiny.Loss):
        def loss_fn(self, batch: Any) -> Any:
            raise RuntimeError("no loss today")

    monkeypatch.setenv("FORCE_COLOR", "1")
    model = tiny.Model()
    trainer = tiny.make_trainer(callbacks=[Progress()])
    with pytest.raises(RuntimeError, match="no loss today"):
        trainer.fit(tiny.make_harness(model=model, loss=Fails(model)), datamodule=tiny.make_datamodule())
    text = capsys.readouterr().out
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is hidden, and shown again
