"""What a setting adds to a run's course is continued, too: half precision, a gradient scaler, a falling rate."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_resume import assert_equal, rows, steps, weights

from xlm_runtime import checkpoint


def whole_and_halves(cache: Path, directory: Path, *words: str) -> tuple[Path, Path]:
    """Six steps in one go, and three and three; the schedule knows of all six."""
    steps(cache, directory / "whole", 6, *words)
    for count in (3, 6):
        steps(cache, directory / "halves", count, *words)
    return directory / "whole", directory / "halves"


def test_mixed_precision_continues_too(cache: Path, tmp_path: Path) -> None:
    whole, halves = whole_and_halves(cache, tmp_path, "trainer.precision=bf16-mixed", "model.dropout=0.1")
    assert_equal(weights(halves), weights(whole))
    assert rows(halves) == rows(whole)
    steps(cache, tmp_path / "other", 6, "model.dropout=0.1")
    assert rows(tmp_path / "other") != rows(whole)  # bf16 was on


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_rate_goes_on_falling_where_it_stood(cache: Path, tmp_path: Path, schedule: str) -> None:
    words = (f"lr_scheduler={schedule}", "lr_scheduler.num_training_steps=6", "lr_scheduler.num_warmup_steps=2")
    whole, halves = whole_and_halves(cache, tmp_path, *words)
    rates = [float(row["train/lr"]) for row in rows(whole)]
    assert rates[2] == 1e-3 and rates[2:] == sorted(rates[2:], reverse=True) and len(set(rates[2:])) == 4
    assert rows(halves) == rows(whole)
    assert_equal(weights(halves), weights(whole))


#: Lightning exchanges float16 on a CPU for bfloat16, but not where the strategy brings its precision. The scale doubles
#: every other step, so that the third step stands in the middle.
SCALER = "{_target_: torch.amp.GradScaler, device: cpu, init_scale: 256, growth_interval: 2}"
PRECISION = (
    f"{{_target_: lightning.pytorch.plugins.MixedPrecision, precision: 16-mixed, device: cpu, scaler: {SCALER}}}"
)
STRATEGY = (
    f"{{_target_: lightning.pytorch.strategies.SingleDeviceStrategy, device: cpu, precision_plugin: {PRECISION}}}"
)


def test_a_gradient_scaler_continues_too(cache: Path, tmp_path: Path) -> None:
    whole, halves = whole_and_halves(cache, tmp_path, f"trainer.strategy={STRATEGY}")
    saved = [checkpoint.read(run / "checkpoints" / "last.ckpt")["MixedPrecision"] for run in (whole, halves)]
    assert saved[0] == saved[1] and saved[0]["scale"] == 256 * 2**3
    assert_equal(weights(halves), weights(whole))
    assert rows(halves) == rows(whole)
