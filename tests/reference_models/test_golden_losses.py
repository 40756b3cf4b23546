"""A refactoring leaves the losses of the first 20 steps as they are.

If a change of the numbers is meant: ``python -m tests.reference_models.golden arlm`` writes them anew. A further
model joins with a line in ``golden.HELD`` and that command.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from golden import HELD, STEPS, golden_file, losses


@pytest.mark.parametrize("model", sorted(HELD))
def test_the_first_losses_are_those_that_were_written_down(model: str, tmp_path: Path) -> None:
    expected = json.loads(golden_file(model).read_text(encoding="utf-8"))["losses"]
    assert len(expected) == STEPS
    assert losses(model, tmp_path) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("model", sorted(HELD))
def test_the_losses_depend_on_the_seed_and_on_what_was_learnt(model: str, tmp_path: Path) -> None:
    expected = json.loads(golden_file(model).read_text(encoding="utf-8"))["losses"]
    assert losses(model, tmp_path, "seed=43", "trainer.max_steps=2") != pytest.approx(expected[:2], rel=1e-3)
    untrained = losses(model, tmp_path, "optimizer.lr=0", "trainer.max_steps=6")
    assert untrained[:2] == pytest.approx(expected[:2], rel=1e-4)  # the rate of the first step is 0
    assert all(
        value != pytest.approx(other, rel=1e-3) for value, other in zip(untrained[2:], expected[2:6], strict=True)
    )
