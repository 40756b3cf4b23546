"""A model that was written by hand becomes a managed repository: the commands of docs/updating.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from releases import OLD, OLDEST, replace
from rendering import ROOT, files_of, run, succeed
from snapshot import clone, git, release
from tiny_models import make_model, register, write

NAME = "handmade"
#: What a repository has before its adoption, besides the model; all but the last is kept.
FILES = {
    "README.md": "Written by hand.\n",
    ".gitignore": "data/\n",
    "LICENSE": "All rights reserved.\n",
    "CHANGELOG.md": "# 1.0\n",
    "configs/commands.yaml": "{}\n",
    f"configs/collator/lm_{NAME}.yaml": "_target_: handmade.parts.Collator\nlength: 8\n",
    "setup.py": "from setuptools import setup\n\nsetup(name='handmade')\n",
}


@pytest.fixture
def adopted(published: Path, tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """The repository after its adoption, and the files that it had before."""
    repository = make_model(tmp_path / "work" / NAME, NAME)
    register(repository.parent, {NAME: NAME})
    for path, text in {**FILES, "data/large.bin": "large"}.items():
        write(repository / path, text)
    git(repository, "init", "--quiet")
    release(repository, "handmade")
    before = files_of(repository)
    words = ["--quiet", "--defaults", "--overwrite", "--vcs-ref", OLDEST, "-d", f"model_name={NAME}", "-d", "adopted=true"]
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
    assert git(repository, "ls-files", "data") == ""  # its own .gitignore still holds
    registered = succeed(["xlm"], repository)
    assert "star_easy_handmade" in registered
    trained = succeed(["xlm", "job_type=train", "experiment=star_easy_handmade", "job_name=first"], repository)
    assert "finished at step 2" in trained


def test_its_contract_tests_run(adopted: tuple[Path, dict[str, bytes]], programs: Path) -> None:
    repository, _ = adopted
    names = ("test_every_config_file_bears_the_name", "test_every_metric_has_a_finite_value")
    python = str(programs / "python")
    done = run([python, "-m", "pytest", "-q", "tests/test_contract.py", "-k", " or ".join(names)], repository)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout


def test_the_page_shows_which_files_in_no_commit_would_be_overwritten(begun: Path, tmp_path: Path) -> None:
    """After an adoption `git diff` could not."""
    page = (ROOT / "docs/updating.md").read_text(encoding="utf-8")
    (command,) = (line for line in page.splitlines() if line.startswith("comm -12 "))
    (tmp_path / "rendered").symlink_to(begun)
    for path, text in {".gitignore": "data/\n/scripts\n", "data/x": "large\n", "scripts/check": "mine\n", "setup.py": ""}.items():
        write(tmp_path / NAME / path, text)
    git(tmp_path / NAME, "init", "--quiet")
    release(tmp_path / NAME, "handmade")
    assert succeed(["bash", "-c", command], tmp_path / NAME) == "scripts/check\n"


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
    assert {path for path in FILES if after[path] != before[path]} == {"setup.py"}


def test_no_release_conflicts_with_files_of_the_models_own(adopted: tuple[Path, dict[str, bytes]], published: Path) -> None:
    """Where the template has a file of the same name, and changes it."""
    repository, before = adopted
    checkout = repository.parent / "xlm-template"
    clone(published, checkout)
    for path in (
        "template/{{ model_name }}/__init__.py.jinja",
        "template/configs/commands.yaml.jinja",
        "reference-models/skeleton/configs/collator/lm_skeleton.yaml",
        "template/.gitignore.jinja",
        "template/CHANGELOG.md.jinja",
        "template/LICENSE.jinja",
        "template/tests/test_train.py.jinja",
    ):
        text = (checkout / path).read_text(encoding="utf-8")
        (checkout / path).write_text(f"# theirs\n{text}# theirs\n", encoding="utf-8")
    release(checkout, "v0.0.3")
    replace(repository / ".copier-answers.yml", str(published), str(checkout))
    release(repository, "elsewhere")
    succeed(["scripts/update"], repository)
    after = files_of(repository)
    assert {path for path in before if after[path] != before[path]} == {"setup.py"}
    assert "_commit: v0.0.3" in (repository / ".copier-answers.yml").read_text(encoding="utf-8")
    assert not [path for path, text in after.items() if b"# theirs" in text]
