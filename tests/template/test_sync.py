"""`make sync`, and its check: reference models follow the template, and nothing is ever deleted."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import ROOT, STARTING_POINTS, files_of, run

Sync = Callable[..., tuple[int, str]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the working tree, as far as the template needs it, with its reference models in step."""
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info", "build", "runs")
    for part in ("tools", "template", "reference-models", "runtime/xlm_runtime"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignored)
    shutil.copy(ROOT / "copier.yml", tmp_path / "copier.yml")
    return tmp_path


@pytest.fixture
def sync(checkout: Path) -> Sync:
    def sync(*words: str) -> tuple[int, str]:
        done = run([sys.executable, "tools/sync.py", *words], checkout, PYTHONPATH=str(checkout / "runtime"))
        return done.returncode, done.stdout + done.stderr

    return sync


def test_what_is_in_step_stays_as_it_is(checkout: Path, sync: Sync) -> None:
    before = files_of(checkout / "reference-models")
    assert sync("--check") == (0, "reference-models is what the template renders.\n")
    assert sync() == (0, "reference-models is what the template renders.\n")
    assert files_of(checkout / "reference-models") == before


def test_a_change_of_the_template_reaches_every_reference_model(checkout: Path, sync: Sync) -> None:
    with (checkout / "template/setup.py.jinja").open("a", encoding="utf-8") as file:
        file.write("# new\n")
    code, told = sync("--check")
    assert code == 1
    assert told == "".join(f"differs: reference-models/{point}/setup.py\n" for point in sorted(STARTING_POINTS))
    assert sync() == (0, told.replace("differs", "written"))
    assert sync("--check")[0] == 0
    assert (checkout / "reference-models/arlm/setup.py").read_text(encoding="utf-8").endswith("# new\n")


def test_a_change_of_a_component_is_its_own_source(checkout: Path, sync: Sync) -> None:
    loss = checkout / "reference-models/arlm/arlm/loss_arlm.py"
    with loss.open("a", encoding="utf-8") as file:
        file.write("# new\n")
    assert sync("--check")[0] == 0
    assert loss.read_text(encoding="utf-8").endswith("# new\n")


def test_the_version_reaches_pin_and_answers(checkout: Path, sync: Sync) -> None:
    (checkout / "runtime/xlm_runtime/VERSION").write_text("9.9.9\n", encoding="utf-8")
    code, told = sync("--check")
    assert code == 1
    for file in (".copier-answers.yml", "requirements/xlm.txt"):
        assert f"differs: reference-models/arlm/{file}\n" in told


def test_a_file_that_nobody_listed_is_named_and_kept(checkout: Path, sync: Sync) -> None:
    file = checkout / "reference-models/arlm/configs/experiment/forgotten_arlm.yaml"
    file.write_text("{}\n", encoding="utf-8")
    for words in ([], ["--check"]):
        assert "not rendered: reference-models/arlm/configs/experiment/forgotten_arlm.yaml" in sync(*words)[1]
    assert sync("--check")[0] == 1
    assert file.is_file()


def test_a_file_that_is_listed_and_missing_is_named(checkout: Path, sync: Sync) -> None:
    (checkout / "reference-models/arlm/configs/model/arlm_small.yaml").unlink()
    code, told = sync()
    assert code == 2
    assert "configs/model/arlm_small.yaml" in told
