"""Single updates: conflicts, moved files, files that git does not see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from releases import COPIER_YML, add_line, insert_before, replace, set_version
from rendering import ROOT, files_of, run, succeed
from snapshot import TEMPLATE, clone, git, lay, release
from test_guard import MOVE, rename

FIRST, NEXT, MOVED, BROKEN = "v0.0.1", "v0.0.2", "v0.1.0", "v0.2.0"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree, another line in a managed file, a managed file that has moved, a migration that fails at the end."""
    checkout = tmp_path_factory.mktemp("updates") / "xlm-template"
    clone(ROOT, checkout, TEMPLATE)
    set_version(checkout, FIRST)
    release(checkout, FIRST)
    set_version(checkout, NEXT)
    replace(checkout / "template/scripts/check", "set -euo pipefail", "set -euo pipefail # theirs")
    (checkout / "template/notes.local").write_text("theirs\n", encoding="utf-8")
    # Shorter than now: an update replaces the very script that runs.
    (checkout / "template/scripts/update").write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    add_line(checkout / "reference-models/skeleton/skeleton/loss_skeleton.py", NEXT)
    release(checkout, NEXT)
    lay(ROOT, checkout, TEMPLATE)
    set_version(checkout, MOVED)
    rename(checkout)
    insert_before(checkout / COPIER_YML, r"(?m)^_message_after_copy", MOVE)
    release(checkout, MOVED)
    set_version(checkout, BROKEN)
    (checkout / "template/notes.local").write_text("theirs\n", encoding="utf-8")
    fails = f"""  - version: {BROKEN}\n    when: "{{{{ _stage == 'after' }}}}"\n    command: "false"\n\n"""
    replace(checkout / COPIER_YML, MOVE, MOVE.rstrip("\n") + "\n" + fails)
    release(checkout, BROKEN)
    return checkout


@pytest.fixture(scope="module")
def begun(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from the first release."""
    project = tmp_path_factory.mktemp("begun") / "my_model"
    words = ["--vcs-ref", FIRST, "-d", "model_name=my_model"]
    succeed(["copier", "copy", "--quiet", "--defaults", *words, str(template), str(project)], project.parent)
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
    git(project, "config", "status.showUntrackedFiles", "no")  # without a list of those Copier finds no conflict
    done = run(["scripts/update", "--defaults", "--vcs-ref", NEXT], project)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "lines of these files:\nscripts/check\n"
        "Choose between the lines marked by <<<<<<< and >>>>>>>, then: git add <file>\n"
    )


def test_the_script_for_updates_ends_well_without_one(project: Path) -> None:
    with (project / "scripts/check").open("a", encoding="utf-8") as stream:
        stream.write("# mine  \n")
    release(project, "mine")
    git(project, "config", "apply.whitespace", "error")  # for the blanks above git would leave out all edits
    assert run(["scripts/update", "--defaults", "--vcs-ref", NEXT], project).returncode == 0
    text = (project / "scripts/check").read_text(encoding="utf-8")
    assert "# theirs" in text and text.endswith("# mine  \n")


def test_an_update_that_stops_halfway_says_how_to_go_back(project: Path) -> None:
    edit_and_commit(project)
    before = files_of(project)
    done = run(["scripts/update", "--vcs-ref", BROKEN, "--trust"], project)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    said, _, back = done.stderr.rpartition("The update stopped halfway: to go back, at the repository's root, ")
    assert said and files_of(project) != before
    succeed(["bash", "-c", back], project)
    assert files_of(project) == before


def test_the_message_after_an_update_names_the_version(project: Path) -> None:
    done = update(project, "--vcs-ref", NEXT)
    assert f"my_model is at version {NEXT.removeprefix('v')} of the template" in done.stderr
    for text in ('pip install --editable ".[dev]"', "git status --short", "xlm-template/blob/main/CHANGELOG.md"):
        assert text in done.stderr


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


def test_a_file_of_the_users_own_at_the_new_place_costs_neither(project: Path) -> None:
    edit_and_commit(project)
    (project / "scripts/verify").write_text("# own\n", encoding="utf-8")
    release(project, "own")
    done = update(project, "--vcs-ref", MOVED, "--trust")
    assert done.returncode == 0, done.stderr
    assert "# mine" in (project / "scripts/check.mine").read_text(encoding="utf-8")
    assert "# own" in (project / "scripts/verify").read_text(encoding="utf-8")
    assert "scripts/verify" in git(project, "ls-files", "--unmerged")


def test_a_project_may_begin_to_follow_its_starting_point(project: Path) -> None:
    """By its answers file: with `--data`, Copier would compare with a copy that has no seeds, and all would conflict."""
    loss = project / "my_model/loss_my_model.py"
    with loss.open("a", encoding="utf-8") as stream:
        stream.write("\n\ndef mine() -> int:\n    return 1\n")
    (project / "my_model/own.py").write_text("OWN = 1\n", encoding="utf-8")
    replace(project / ".copier-answers.yml", "follow_starting_point: false", "follow_starting_point: true")
    release(project, "followed")
    before = files_of(project)
    done = update(project, "--vcs-ref", NEXT)
    assert done.returncode == 0, done.stderr
    assert not git(project, "ls-files", "--unmerged")
    changed = {path for path, content in files_of(project).items() if before.get(path) != content}
    assert changed == {
        ".copier-answers.yml",
        "my_model/loss_my_model.py",
        "notes.local",
        "requirements/xlm.txt",
        "scripts/check",
        "scripts/update",
    }
    text = loss.read_text(encoding="utf-8")
    assert f"# {NEXT}" in text and "def mine()" in text
    assert "follow_starting_point: true" in (project / ".copier-answers.yml").read_text(encoding="utf-8")


# -- files that git does not see -----------------------------------------------------------------------------------


def ignore(project: Path) -> str:
    """A file of the user's own, where the next release has one."""
    with (project / ".gitignore").open("a", encoding="utf-8") as stream:
        stream.write("\n*.local\n")
    (project / "notes.local").write_text("mine\n", encoding="utf-8")
    return "notes.local"


def exclude(project: Path) -> str:
    """An edited managed file that is in no commit."""
    git(project, "rm", "--quiet", "--cached", "scripts/check")
    (project / ".git/info/exclude").write_text("/scripts/check\n", encoding="utf-8")
    replace(project / "scripts/check", "set -euo pipefail", "set -euo pipefail # mine")
    return "scripts/check"


def skip(project: Path) -> str:
    """A managed file, whose edits git is told to overlook."""
    git(project, "update-index", "--skip-worktree", "scripts/check")
    replace(project / "scripts/check", "set -euo pipefail", "set -euo pipefail # mine")
    return "scripts/check"


@pytest.mark.parametrize("hide", [ignore, exclude, skip], ids=lambda hide: hide.__name__)
def test_a_file_that_git_does_not_see_is_not_overwritten(project: Path, hide: Callable[[Path], str]) -> None:
    path = hide(project)
    release(project, "mine")
    before = files_of(project)
    done = run(["scripts/update", "--vcs-ref", NEXT], project)
    assert done.returncode == 1 and f"would overwrite them:\n  {path}\n" in done.stderr
    assert files_of(project) == before


def test_a_file_that_git_is_told_not_to_list_is_not_overwritten(project: Path) -> None:
    (project / "notes.local").write_text("mine\n", encoding="utf-8")
    git(project, "rm", "--quiet", "--cached", "scripts/check")
    git(project, "commit", "--quiet", "--message", "mine")
    git(project, "config", "status.showUntrackedFiles", "no")
    before = files_of(project)
    done = run(["scripts/update", "--vcs-ref", NEXT], project)
    assert done.returncode == 1 and "in no commit" in done.stderr, done.stderr
    assert "notes.local, scripts/check" in done.stderr
    assert files_of(project) == before


def test_what_git_ignores_is_no_obstacle_where_the_template_has_nothing(project: Path) -> None:
    """Nor where it leaves a file alone: a seed that is in no commit."""
    ignore(project)
    (project / "notes.local").rename(project / "other.local")
    git(project, "rm", "--quiet", "--cached", "README.md")
    (project / ".git/info/exclude").write_text("/README.md\n", encoding="utf-8")
    (project / "README.md").write_text("Mine.\n", encoding="utf-8")
    release(project, "mine")
    done = run(["scripts/update", "--vcs-ref", NEXT], project)
    assert done.returncode == 0, done.stderr
    assert (project / "README.md").read_text(encoding="utf-8") == "Mine.\n"
