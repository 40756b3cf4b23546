"""The command that the skeleton brings: its numbers, its name beside that of another model, and where there is none."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rendering import LONG_NAME, QUESTIONS, SHORT_NAME, STARTING_POINTS, files_of, succeed

Make = Callable[..., Path]
POINTS = QUESTIONS["points"]["default"]
#: Rows of two batches, so that a mean over batches would not be one over tokens.
SHORT = (
    *("dataset.sizes={train: 16, val: 8, test: 10}", "batch_size=8", "trainer.max_steps=2", "trainer.accelerator=cpu"),
    *("model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=32"),
)


@pytest.fixture
def xlm(programs: Path, tmp_path: Path) -> Callable[..., str]:
    def run(*words: str) -> str:
        command = [str(programs / "python"), "-m", "xlm_runtime.cli", *words]
        return succeed(command, tmp_path, XLM_CACHE_DIR=str(tmp_path / "cache"))

    return run


def test_two_models_bring_it_side_by_side(make: Make, xlm: Callable[..., str], tmp_path: Path) -> None:
    """Where an answer goes wrong: weighed by tokens, the positions' losses are that of the evaluation."""
    names = (SHORT_NAME, LONG_NAME)
    for name in names:
        make(name)
    (tmp_path / "xlm_models.json").write_text(json.dumps({name: name for name in names}), encoding="utf-8")
    listed = xlm()
    for name in names:
        assert f"commands:    position_loss_{name}\n" in listed
        xlm("job_type=train", f"job_name={name}", f"experiment=star_easy_{name}", *SHORT)
        printed = xlm(f"job_type=position_loss_{name}", f"job_name={name}")
        rows = [line.split() for line in printed.splitlines() if re.match(r" +\d", line)]
        counts, losses = [int(row[1]) for row in rows], [float(row[2]) for row in rows]
        assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1)) and set(counts) == {10}
        xlm("job_type=eval", f"job_name={name}")
        metrics = json.loads((tmp_path / f"runs/{name}/metrics-test.json").read_text(encoding="utf-8"))
        mean = sum(count * loss for count, loss in zip(counts, losses, strict=True)) / sum(counts)
        assert mean == pytest.approx(metrics["test/loss"], abs=1e-4)


@pytest.mark.parametrize("point", STARTING_POINTS)
def test_what_is_listed_is_there_and_bears_the_name(make: Make, point: str) -> None:
    project = make("my_model", starting_point=point)
    commands = yaml.safe_load((project / "configs/commands.yaml").read_text(encoding="utf-8")) or {}
    functions = POINTS[point].get("commands", [])
    assert commands == {f"{name}_my_model": f"my_model.commands_my_model.{name}" for name in functions}
    assert ("my_model/commands_my_model.py" in files_of(project)) == bool(functions)
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert [name for name in commands if f"xlm job_type={name} " not in readme] == []
