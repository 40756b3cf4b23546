"""A model that was written by hand becomes a managed repository: the commands of docs/updating.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from releases import OLD, OLDEST
from rendering import files_of, run, succeed
from snapshot import git, release
from tiny_models import make_model, register

NAME = "handmade"
#: All that is the model's own.
EXCLUDED = ("/handmade", "/configs", "/tests/test_loss.py", "/tests/test_train.py")


@pytest.fixture
def adopted(published: Path, tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """The repository after its adoption, and the files that it had before."""
    repository = make_model(tmp_path / "work" / NAME, NAME)
    register(repository.parent, {NAME: NAME})
    (repository / "README.md").write_text("Written by hand.\n", encoding="utf-8")
    (repository / "setup.py").write_text("from setuptools import setup\n\nsetup(name='handmade')\n", encoding="utf-8")
    git(repository, "init", "--quiet")
    release(repository, "handmade")
    before = files_of(repository)
    excluded = [word for path in EXCLUDED for word in ("--exclude", path)]
    words = ["--quiet", "--defaults", "--overwrite", "--vcs-ref", OLDEST, "-d", f"model_name={NAME}", *excluded]
    succeed(["copier", "copy", *words, str(published), "."], repository)
    release(repository, "adopted")
    return repository, before


def test_the_model_is_as_it_was_and_the_rest_is_the_templates(adopted: tuple[Path, dict[str, bytes]]) -> None:
    repository, before = adopted
    after = files_of(repository)
    assert {path for path in before if after.get(path) != before[path]} == {"setup.py"}
    for path in (".copier-answers.yml", "pyproject.toml", "requirements/xlm.txt", "tests/test_contract.py"):
        assert path in after
    assert not (repository / "tests/test_loss.py").exists()
    registered = succeed(["xlm"], repository)
    assert "star_easy_handmade" in registered
    trained = succeed(["xlm", "job_type=train", "experiment=star_easy_handmade", "job_name=first"], repository)
    assert "finished at step 2" in trained


def test_its_contract_tests_run(adopted: tuple[Path, dict[str, bytes]]) -> None:
    repository, _ = adopted
    names = ("test_every_config_file_bears_the_name", "test_every_metric_has_a_finite_value")
    done = run(["python", "-m", "pytest", "-q", "tests/test_contract.py", "-k", " or ".join(names)], repository)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout


def test_updates_leave_the_model_alone(adopted: tuple[Path, dict[str, bytes]]) -> None:
    repository, before = adopted
    own = repository / NAME / "parts.py"
    own.write_text(own.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    release(repository, "mine")
    earlier = files_of(repository)
    succeed(["copier", "update", "--quiet", "--defaults", "--vcs-ref", OLD], repository)
    assert not git(repository, "ls-files", "--unmerged")
    after = files_of(repository)
    changed = {path for path in earlier.keys() | after.keys() if earlier.get(path) != after.get(path)}
    assert changed == {".copier-answers.yml", "requirements/xlm.txt", "setup.py"}
    assert f"# {OLDEST}".encode() not in after["setup.py"]
    assert after["README.md"] == before["README.md"]
