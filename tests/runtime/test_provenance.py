"""Where numbers come from: the commit of the model's repository, and whether it is what stands there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tiny_models import make_model

from xlm_runtime.provenance import commit, versions


def git(directory: Path, *words: str) -> str:
    user = ["-c", "user.name=Me", "-c", "user.email=me@example.org"]
    done = subprocess.run(["git", "-C", str(directory), *user, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that can be imported, and is not committed yet."""
    root = make_model(tmp_path / "repository", "some_model")
    monkeypatch.syspath_prepend(str(root))
    git(root, "init", "--quiet")
    return root


def test_a_commit_and_whether_something_differs_from_it(repository: Path) -> None:
    assert commit("some_model") is None  # git knows nothing of it yet
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "first")
    head = git(repository, "rev-parse", "HEAD")
    assert commit("some_model") == {"hash": head, "dirty": False}
    (repository / "some_model" / "parts.py").write_text("changed = True\n", encoding="utf-8")
    assert commit("some_model") == {"hash": head, "dirty": True}


def test_a_repository_around_an_environment_is_not_the_models(repository: Path) -> None:
    (repository / ".gitignore").write_text("some_model\n", encoding="utf-8")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "first")
    assert commit("some_model") is None


def test_what_is_no_package_has_none() -> None:
    assert commit("no_such_model") is None
    assert commit("None-at-all") is None


def test_versions_are_of_what_numbers_depend_on() -> None:
    assert set(versions()) == {"python", "xlm-runtime", "torch", "lightning", "transformers"}
