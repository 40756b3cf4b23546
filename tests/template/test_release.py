"""`make release`: what it writes, and what it refuses, with everything left as it was."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from rendering import ROOT, run
from snapshot import VERSION_FILE, clone, git, release, version


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    directory = tmp_path / "xlm-template"
    clone(ROOT, directory)
    release(directory, "v0.0.9")
    return directory


def make_release(checkout: Path, version: str) -> CompletedProcess[str]:
    words = [sys.executable, "tools/release.py", version, "--repository", str(checkout), "--no-checks"]
    author = {f"GIT_{who}_{what}": "ada@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return run(words, checkout, PYTHONPATH=str(checkout / "runtime"), **author)


def test_a_release_has_its_version_everywhere(checkout: Path) -> None:
    done = make_release(checkout, "7.1.0")
    assert done.returncode == 0, done.stderr
    assert git(checkout, "describe", "--exact-match").strip() == "v7.1.0"
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "log", "-1", "--format=%ae %ce").split() == ["ada@example.org"] * 2  # the maintainer's own
    assert (checkout / VERSION_FILE).read_text(encoding="utf-8") == "7.1.0\n"
    assert re.search(r"## Unreleased\n\n## 7\.1\.0 \(\d{4}-\d\d-\d\d\)\n\n### Added", read(checkout / "CHANGELOG.md"))
    for model in ("arlm", "skeleton"):
        assert "@v7.1.0#" in read(checkout / f"reference-models/{model}/requirements/xlm.txt")
        assert yaml.safe_load(read(checkout / f"reference-models/{model}/.copier-answers.yml"))["_commit"] == "v7.1.0"


@pytest.mark.parametrize(
    ("version", "told"),
    [("7.1", "'7.1' is no version"), ("v7.1.0", "is no version"), ("07.1.0", "is no version"), ("0.0.9", "not above"), ("0.0.8", "not above")],
)
def test_a_version_that_cannot_be_released(checkout: Path, version: str, told: str) -> None:
    refused(checkout, version, told)


def test_open_changes_are_not_released(checkout: Path) -> None:
    (checkout / "stray.txt").write_text("stray\n", encoding="utf-8")
    refused(checkout, "7.1.0", "stray.txt")


def test_a_release_has_something_to_say(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 0.0.9\n\n- All.\n", encoding="utf-8")
    release(checkout, "v0.0.10")
    refused(checkout, "7.1.0", "says nothing under '## Unreleased'")


def test_a_failure_leaves_everything_as_it_was(checkout: Path) -> None:
    (checkout / "reference-models/arlm/configs/model/arlm_small.yaml").unlink()  # listed, so that sync fails
    release(checkout, "v0.0.10")
    before = state(checkout)
    done = make_release(checkout, "7.1.0")
    assert done.returncode == 1 and "nothing has changed" in done.stderr
    assert state(checkout) == before


def test_a_tag_that_cannot_be_made_leaves_no_commit(checkout: Path) -> None:
    git(checkout, "config", "tag.gpgSign", "true")
    git(checkout, "config", "gpg.program", "false")
    before = state(checkout)
    done = make_release(checkout, "7.1.0")
    assert done.returncode == 1 and "git tag" in done.stderr and "nothing has changed" in done.stderr
    assert state(checkout) == before


def test_a_release_that_is_ended_leaves_everything_as_it_was(checkout: Path) -> None:
    hook = checkout / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\nkill -TERM $(ps -o ppid= -p $PPID)\nsleep 2\n", encoding="utf-8")
    hook.chmod(0o755)
    before = state(checkout)
    done = make_release(checkout, "7.1.0")
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert state(checkout) == before


def state(checkout: Path) -> str:
    return git(checkout, "rev-parse", "HEAD") + git(checkout, "status", "--porcelain") + git(checkout, "tag")


def refused(checkout: Path, version: str, told: str) -> None:
    before = state(checkout)
    done = make_release(checkout, version)
    assert done.returncode == 2 and told in done.stderr
    assert state(checkout) == before


@pytest.mark.parametrize(("tag", "status"), [(f"v{version(ROOT)}", 0), ("v0.0.1", 1), ("v", 1)])
def test_ci_asserts_that_a_tag_is_the_version(tag: str, status: int) -> None:
    steps = yaml.safe_load(read(ROOT / ".github/workflows/release.yml"))["jobs"]["version"]["steps"]
    script = next(step["run"] for step in steps if "run" in step)
    done = run(["bash", "-euo", "pipefail", "-c", script], ROOT, GITHUB_REF_NAME=tag)
    assert done.returncode == status
    assert status == 0 or f"{tag} is not the version" in done.stdout


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8")
