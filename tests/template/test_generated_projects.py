"""A rendered repository, treated as a project of its own, before the first edit and whatever its name."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import LONG_NAME, SHORT_NAME, STARTING_POINTS, succeed

Make = Callable[..., Path]
#: What is loaded before pytest cannot be rewritten by it, and need not be.
QUIET = {"PYTEST_ADDOPTS": "-W ignore::pytest.PytestAssertRewriteWarning"}
every_point = pytest.mark.parametrize("point", STARTING_POINTS)
both_names = pytest.mark.parametrize("name", [SHORT_NAME, LONG_NAME])


@both_names
@every_point
def test_the_formatter_leaves_no_diff(make: Make, point: str, name: str) -> None:
    succeed([sys.executable, "-m", "ruff", "format", "--no-cache", "--diff", "."], make(name, starting_point=point))


@both_names
@every_point
def test_the_linter_is_content(make: Make, point: str, name: str) -> None:
    succeed([sys.executable, "-m", "ruff", "check", "--no-cache", "."], make(name, starting_point=point))


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy has found out of the libraries, for one project after the other."""
    return str(tmp_path_factory.mktemp("types"))


@every_point
def test_the_check_of_its_ci_passes(make: Make, point: str, programs: Path, types: str) -> None:
    """Format, lint and every test: contract, loss by hand, and the commands that train, evaluate and generate."""
    project = make(SHORT_NAME, starting_point=point)
    all_passed(succeed(["scripts/check"], project, programs=str(programs), MYPY_CACHE_DIR=types, **QUIET))


@every_point
def test_the_tests_pass_under_a_long_name(make: Make, point: str, programs: Path) -> None:
    project = make(LONG_NAME, starting_point=point)
    all_passed(succeed(["python", "-m", "pytest"], project, programs=str(programs), **QUIET))


def all_passed(printed: str) -> None:
    assert " passed" in printed
    for word in ("failed", "skipped", "error", "warning"):
        assert word not in printed.splitlines()[-1]


def test_the_skeleton_learns_a_batch_by_heart_with_few_parameters(make: Make, programs: Path) -> None:
    words = ["experiment=star_easy_my_model", "debug=overfit", "trainer.max_steps=1", "trainer.accelerator=cpu"]
    command = ["python", "-m", "xlm_runtime.cli", "job_type=train", *words]
    printed = succeed(command, make("my_model"), programs=str(programs))
    parameters = re.search(r"([\d,]+) parameters", printed)
    assert parameters is not None and int(parameters[1].replace(",", "")) <= 1_000_000


def test_a_model_can_bring_a_command(make: Make) -> None:
    project = make("my_model")
    (project / "my_model/commands_my_model.py").write_text(
        "def count(cfg):\n    print('layers:', cfg.model.num_layers)\n", encoding="utf-8"
    )
    with (project / "configs/commands.yaml").open("a", encoding="utf-8") as file:
        file.write("count: my_model.commands_my_model.count\n")
    printed = succeed(["xlm", "job_type=count", "experiment=star_easy_my_model", "model.num_layers=3"], project)
    assert printed == "layers: 3\n"
