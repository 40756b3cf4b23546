"""What cannot be updated is refused with a clear message, by Copier's own command and by the script, and left as it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from releases import COPIER_YML, OLD, OLDEST, insert_before
from rendering import ROOT, files_of, run
from snapshot import clone, git, release
from test_guard import MOVE

ANSWERS = ".copier-answers.yml"
SECTION = (ROOT / "docs/updating.md").read_text(encoding="utf-8").partition("## What is refused")[2].partition("\n## ")[0]
#: What the page says that Copier says, with `…` for what varies.
DOCUMENTED = re.findall(r"(?m)^\| `([^`]+)` \|", SECTION)


def nothing(project: Path) -> None:
    pass


def uncommitted(project: Path) -> None:
    (project / "setup.py").write_text("# not committed\n", encoding="utf-8")


def without_git(project: Path) -> None:
    (project / ".git").rename(project.parent / "elsewhere.git")


def without_answers(project: Path) -> None:
    (project / ANSWERS).unlink()
    release(project, "mine")


def answer(key: str, value: str) -> Callable[[Path], None]:
    """Edit a recorded answer; OLDEST's template stands for `{template}`."""

    def change(project: Path) -> None:
        text = (project / ANSWERS).read_text(encoding="utf-8")
        line = f"{key}: {value.format(template=recorded('_src_path', project))}"
        (project / ANSWERS).write_text(re.sub(rf"(?m)^{key}:.*$", line, text), encoding="utf-8")
        release(project, "mine")

    return change


def both(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        for each in changes:
            each(project)

    return change


def with_a_migration(project: Path) -> None:
    """The template's next release moves a file."""
    checkout = project.parent / "xlm-template"
    clone(Path(recorded("_src_path", project)), checkout)
    insert_before(checkout / COPIER_YML, r"(?m)^_message_after_copy", MOVE)
    release(checkout, "v0.1.0")
    answer("_src_path", str(checkout))(project)


def recorded(key: str, project: Path) -> str:
    found = re.search(rf"(?m)^{key}: (.*)$", (project / ANSWERS).read_text(encoding="utf-8"))
    assert found
    return found[1]


#: What is done before; what is asked for; what Copier ends with; what the script says.
REFUSED: dict[str, tuple[Callable[[Path], None], list[str], str, str]] = {
    "dirty": (uncommitted, [], "Destination repository is dirty", "in no commit, expected none in all of the repository: setup.py."),
    "no git": (without_git, [], "only supported in git-tracked subprojects", "This needs git, and a commit to go back to"),
    "no answers": (without_answers, [], "TypeError: Template not found", "expected one such file. Get it back"),
    "unknown starting point": (
        answer("starting_point", "gpt"),
        [],
        "ValueError: Invalid choice for 'starting_point': 'gpt' is not in",
        f'"gpt" in {ANSWERS} is no starting point of the template: expected one of skeleton, arlm, mlm, ilm, mdlm. Put',
    ),
    "no such choice": (
        nothing,
        ["-d", "license=GPL"],
        "ValueError: Invalid choice for 'license': 'GPL' is not in",
        "'GPL' is no license of the template: expected one of ['Apache-2.0', 'MIT'",
    ),
    "no such tag": (
        nothing,
        ["--vcs-ref", "v0.0.7"],
        "ValueError: Unknown revision: 'v0.0.7'",
        "The template has no release v0.0.7: expected a tag of ",
    ),
    "no such tag, from afar": (
        answer("_src_path", "git+file://{template}"),
        ["--vcs-ref", "v0.0.7"],
        "v0.0.7",
        "The template has no release v0.0.7: expected a tag of git+file://",
    ),
    "recorded tag is gone": (
        answer("_commit", "v0.0.7"),
        [],
        "ValueError: Unknown revision: 'v0.0.7'",
        f"and at _commit in {ANSWERS}",
    ),
    "recorded tag is gone, from afar": (
        both(answer("_src_path", "git+file://{template}"), answer("_commit", "v0.0.7")),
        [],
        "v0.0.7",
        "The template has no release v0.0.7: expected a tag of git+file://",
    ),
    "no trust": (
        with_a_migration,
        ["--vcs-ref", "v0.1.0"],
        "Template uses potentially unsafe feature: migrations.",
        "This release has migrations of the template run commands here: expected your trust. Read them in copier.yml at ",
    ),
    "no such directory": (
        answer("_src_path", "/nowhere"),
        [],
        "ValueError: Local template must be a directory",
        f"There is no template at /nowhere: expected the address of its repository. Look at _src_path in {ANSWERS}",
    ),
    "unreachable address": (
        answer("_src_path", "git+file:///nowhere/xlm-template.git"),
        [],
        "fatal: '/nowhere/xlm-template.git' does not appear to be a git repository",
        "git cannot get the template at git+file:///nowhere/xlm-template.git: '/nowhere/xlm-template.git' does not appear",
    ),
} | {
    f"another {key}": (
        nothing,
        ["-d", f"{key}={value}"],
        f"ValueError: Validation error for question '{key}'",
        f"is asked for: an update cannot change it without losing edits. {instead}",
    )
    for key, value, instead in (
        ("starting_point", "arlm", "Make a new repository"),
        ("model_name", "other", "Make a new repository"),
        ("adopted", "true", "Make a new repository"),
        ("follow_starting_point", "true", "Edit it in that file, commit, and update."),
    )
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_updated_is_told_and_left_as_it_is(project: Path, case: str) -> None:
    prepare, words, told, script_told = REFUSED[case]
    prepare(project)
    before = files_of(project)
    done = run(["copier", "update", "--defaults", *(words or ["--vcs-ref", OLD])], project)
    assert done.returncode and told in done.stderr, done.stderr
    assert any(re.search(pattern(row), done.stderr) for row in DOCUMENTED), done.stderr
    done = run(["scripts/update", *words], project)
    assert done.returncode == 1
    assert script_told in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert files_of(project) == before


def test_what_the_script_alone_refuses(project: Path, tmp_path: Path) -> None:
    """Copier takes edits away, or stops halfway with a traceback."""

    def refused(told: str, *words: str, **variables: str) -> None:
        before = files_of(project)
        done = run(["scripts/update", *words], project, **variables)
        assert (done.returncode, done.stdout) == (1, "")
        assert told in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
        assert files_of(project) == before

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(sys.executable)
    refused("Found no copier on PATH, expected one: pip install 'copier>=9", PATH=str(tmp_path / "bin"))
    for words in (["--conflict", "rej"], ["--conflict=rej"], ["-o", "rej"]):
        refused("Found --conflict rej, expected inline: leave it out. Nothing has changed.", *words)
    (project / "scripts/check").unlink()
    (project / "scripts/check").mkdir()
    (project / "scripts/check/own").write_text("mine\n", encoding="utf-8")
    git(project, "rm", "--quiet", "-r", "requirements")
    (project / "requirements").write_text("mine\n", encoding="utf-8")
    release(project, "mine")
    refused("Found requirements, scripts/check, where the new release has a file for a directory, or")


def test_a_file_that_git_does_not_find_is_not_taken_for_a_release(project: Path, tmp_path: Path) -> None:
    """What git says in the midst of a merge."""
    program = tmp_path / "bin/copier"
    program.parent.mkdir()
    said = "error: pathspec 'own' did not match any file(s) known to git"
    program.write_text(f'#!/bin/sh\ntest "$1" = recopy || {{ echo "{said}" >&2; exit 1; }}\n', encoding="utf-8")
    program.chmod(0o755)
    done = run(["scripts/update"], project, programs=str(program.parent))
    assert (done.returncode, done.stderr) == (1, f"{said} Nothing has changed.\n")


@pytest.mark.parametrize("halfway", [False, True])
def test_an_update_that_is_interrupted_says_how_to_go_back(project: Path, tmp_path: Path, halfway: bool) -> None:
    program = tmp_path / "bin/copier"
    program.parent.mkdir()
    words = ["#!/bin/sh", 'test "$1" = update || exit 0', "echo new >> setup.py" if halfway else "", "kill -INT $PPID", "sleep 9"]
    program.write_text("\n".join(words) + "\n", encoding="utf-8")
    program.chmod(0o755)
    done = run(["scripts/update"], project, programs=str(program.parent))
    state = "The update stopped halfway: to go back, at the repository's root, git reset" if halfway else "Nothing has changed."
    assert done.returncode == 130 and done.stderr.startswith(f"Interrupted. {state}"), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_the_page_lists_is_what_copier_says() -> None:
    told = [told for _, _, told, _ in REFUSED.values()]
    assert [row for row in DOCUMENTED if not any(re.search(pattern(row), text) for text in told)] == []


def pattern(row: str) -> str:
    return re.escape(row).replace("…", ".*")


def test_the_answers_that_may_change_do(project: Path) -> None:
    own = {"license": "MIT", "description": "Mine.", "author": "Ada", "copyright_year": "2027", "runtime_source": "index"}
    words = [word for key, value in own.items() for word in ("-d", f"{key}={value}")]
    done = run(["scripts/update", "--vcs-ref", OLD, *words], project)
    assert done.returncode == 0, done.stderr
    assert "MIT License" in (project / "LICENSE").read_text(encoding="utf-8")
    assert (project / "requirements/xlm.txt").read_text(encoding="utf-8") == f"xlm-runtime=={OLD.removeprefix('v')}\n"
    assert git(project, "diff", "--name-only").split() == [
        ANSWERS,
        "LICENSE",
        "pyproject.toml",
        "requirements/xlm.txt",
        "setup.py",
    ]


def test_check_update_tells_whether_there_is_a_newer_template(project: Path) -> None:
    told = run(["copier", "check-update"], project)
    assert OLD.removeprefix("v") in told.stdout + told.stderr
    assert f"_commit: {OLDEST}" in (project / ANSWERS).read_text(encoding="utf-8")
