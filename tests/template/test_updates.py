"""Single updates: conflicts, moved files, what is refused; and that a refused update has changed nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from releases import COPIER_YML, add_line, insert_before, replace, set_version
from rendering import ROOT, files_of, run, succeed
from snapshot import clone, git, lay, release
from test_guard import MOVE, rename

FIRST, NEXT, MOVED = "v0.0.1", "v0.0.2", "v0.1.0"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three releases: the working tree, another line in a managed file, and a managed file that has moved."""
    checkout = tmp_path_factory.mktemp("updates") / "xlm-template"
    clone(ROOT, checkout)
    set_version(checkout, FIRST)
    release(checkout, FIRST)
    set_version(checkout, NEXT)
    replace(checkout / "template/scripts/check", "set -euo pipefail", "set -euo pipefail # theirs")
    add_line(checkout / "reference-models/skeleton/skeleton/loss_skeleton.py", NEXT)
    release(checkout, NEXT)
    lay(ROOT, checkout)
    set_version(checkout, MOVED)
    rename(checkout)
    insert_before(checkout / COPIER_YML, r"(?m)^_message_after_copy", MOVE)
    release(checkout, MOVED)
    return checkout


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """Made from the first release, with a line of the user's in a managed file."""
    project = tmp_path / "my_model"
    words = ["--vcs-ref", FIRST, "-d", "model_name=my_model"]
    succeed(["copier", "copy", "--quiet", "--defaults", *words, str(template), str(project)], tmp_path)
    git(project, "init", "--quiet")
    release(project, "made")
    return project


def edit_and_commit(project: Path) -> None:
    replace(project / "scripts/check", "set -euo pipefail", "set -euo pipefail # mine")
    release(project, "mine")


def update(project: Path, *words: str) -> CompletedProcess[str]:
    return run(["copier", "update", "--defaults", *words], project)


def test_a_conflict_is_marked_and_told(project: Path) -> None:
    edit_and_commit(project)
    done = update(project, "--vcs-ref", NEXT)
    assert done.returncode == 0  # Copier's way: who runs it must look
    assert "scripts/check" in git(project, "ls-files", "--unmerged")
    text = (project / "scripts/check").read_text(encoding="utf-8")
    assert "<<<<<<<" in text and "# mine" in text and "# theirs" in text
    assert "git diff --name-only --diff-filter=U" in done.stderr  # the message after an update


def test_the_script_for_updates_fails_at_a_conflict_and_names_the_files(project: Path) -> None:
    edit_and_commit(project)
    done = run(["scripts/update", "--defaults", "--vcs-ref", NEXT], project)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "lines of these files:\nscripts/check\n"
        "Choose between the lines marked by <<<<<<< and >>>>>>>, then: git add <file>\n"
    )


def test_the_script_for_updates_ends_well_without_one(project: Path) -> None:
    assert run(["scripts/update", "--defaults", "--vcs-ref", NEXT], project).returncode == 0
    assert "# theirs" in (project / "scripts/check").read_text(encoding="utf-8")


def test_the_message_after_an_update_names_the_version(project: Path) -> None:
    done = update(project, "--vcs-ref", NEXT)
    assert f"my_model is at version {NEXT.removeprefix('v')} of the template" in done.stderr
    assert 'pip install --editable ".[dev]"' in done.stderr


def test_a_moved_file_takes_its_edits_along_and_needs_trust_for_that_update_alone(project: Path) -> None:
    edit_and_commit(project)
    before = files_of(project)
    refused = update(project, "--vcs-ref", MOVED)
    assert refused.returncode != 0 and "--trust" in refused.stderr
    assert files_of(project) == before
    assert update(project, "--vcs-ref", MOVED, "--trust").returncode == 0
    assert not (project / "scripts/check").exists()
    assert "# mine" in (project / "scripts/verify").read_text(encoding="utf-8")
    release(project, "updated")
    again = update(project, "--vcs-ref", MOVED)  # the migration is behind it: no trust is asked for any more
    assert again.returncode == 0, again.stderr
    assert git(project, "status", "--porcelain") == ""


def test_a_file_that_its_user_has_moved_already_is_no_obstacle(project: Path) -> None:
    git(project, "mv", "scripts/check", "scripts/mine")
    release(project, "mine")
    done = update(project, "--vcs-ref", MOVED, "--trust")
    assert done.returncode == 0, done.stderr
    assert (project / "scripts/mine").is_file()


def test_a_project_may_begin_to_follow_its_starting_point(project: Path) -> None:
    """By its answers file: with `--data`, Copier would compare with a copy that has no seeds, and all would conflict."""
    loss = project / "my_model/loss_my_model.py"
    with loss.open("a", encoding="utf-8") as stream:
        stream.write("\n\ndef mine() -> int:\n    return 1\n")
    (project / "my_model/own.py").write_text("OWN = 1\n", encoding="utf-8")
    another_answer("follow_starting_point", "true")(project)
    before = files_of(project)
    done = update(project, "--vcs-ref", NEXT)
    assert done.returncode == 0, done.stderr
    assert not git(project, "ls-files", "--unmerged")
    changed = {path for path, content in files_of(project).items() if before.get(path) != content}
    assert changed == {
        ".copier-answers.yml",
        "my_model/loss_my_model.py",
        "requirements/xlm.txt",
        "scripts/check",
    }
    text = loss.read_text(encoding="utf-8")
    assert f"# {NEXT}" in text and "def mine()" in text
    assert "follow_starting_point: true" in (project / ".copier-answers.yml").read_text(encoding="utf-8")


# -- refused, and nothing changed ----------------------------------------------------------------------------------


def uncommitted(project: Path) -> None:
    (project / "setup.py").write_text("# not committed\n", encoding="utf-8")


def without_git(project: Path) -> None:
    (project / ".git").rename(project.parent / "elsewhere.git")


def another_answer(key: str, value: str) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        file = project / ".copier-answers.yml"
        lines = file.read_text(encoding="utf-8").splitlines()
        assert any(line.startswith(f"{key}:") for line in lines)
        text = "\n".join(f"{key}: {value}" if line.startswith(f"{key}:") else line for line in lines)
        file.write_text(f"{text}\n", encoding="utf-8")
        release(project, "mine")

    return change


REFUSED: dict[str, tuple[Callable[[Path], None], list[str], list[str]]] = {
    "dirty": (uncommitted, [], ["dirty", "commit or stash"]),
    "no git": (without_git, [], ["git-tracked"]),
    "unknown starting point": (another_answer("starting_point", "gpt"), [], ["starting_point", "gpt"]),
    "no such tag": (lambda project: None, ["--vcs-ref", "v0.0.7"], ["v0.0.7"]),
    "recorded tag is gone": (another_answer("_commit", "v0.0.7"), [], ["v0.0.7"]),
    "no such directory": (another_answer("_src_path", "/nowhere"), [], ["Local template must be a directory"]),
    "unreachable address": (
        another_answer("_src_path", "git+file:///nowhere/xlm-template.git"),
        [],
        ["/nowhere/xlm-template"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_updated_is_told_and_left_as_it_is(project: Path, case: str) -> None:
    prepare, words, told = REFUSED[case]
    prepare(project)
    before = files_of(project)
    done = update(project, *(words or ["--vcs-ref", NEXT]))
    assert done.returncode != 0
    for text in told:
        assert text in done.stderr, done.stderr
    assert files_of(project) == before


def test_check_update_tells_whether_there_is_a_newer_template(project: Path) -> None:
    old = run(["copier", "check-update"], project)
    assert MOVED.removeprefix("v") in old.stdout + old.stderr
