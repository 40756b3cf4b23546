"""Several models in one git repository, and a model put into a repository that is there already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from releases import OLD, OLDEST
from rendering import files_of, run, succeed
from snapshot import git, release
from test_workflows import faults

NAMES = ("first_model", "second_model")


def copy(published: Path, name: str, workspace: Path, *words: str) -> None:
    answers = ["--vcs-ref", OLDEST, "-d", f"model_name={name}", "-d", "starting_point=arlm", *words]
    succeed(["copier", "copy", "--quiet", "--defaults", *answers, str(published), name], workspace)


@pytest.fixture
def workspace(published: Path, tmp_path: Path) -> Path:
    """Two models below one registry, each with an answers file of its own name, and work that is neither's."""
    directory = tmp_path / "workspace"
    directory.mkdir()
    git(directory, "init", "--quiet")
    for name in NAMES:
        copy(published, name, directory, "--answers-file", f".copier-answers.{name}.yml")
    (directory / "xlm_models.json").write_text(json.dumps({name: name for name in NAMES}), encoding="utf-8")
    (directory / "README.md").write_text("Two models.\n", encoding="utf-8")
    (directory / "own.rej").write_text("Beside no file of this name: in nobody's way.\n", encoding="utf-8")
    release(directory, "made")
    return directory


def test_one_registry_shows_both_models(workspace: Path) -> None:
    listed = succeed(["xlm"], workspace)
    for name in NAMES:
        assert f"star_easy_{name}" in listed
        assert (workspace / name / f".copier-answers.{name}.yml").is_file()


def test_an_update_of_one_leaves_all_else_alone(workspace: Path) -> None:
    first, second = (workspace / name for name in NAMES)
    for project in (first, second):
        with (project / "setup.py").open("a", encoding="utf-8") as stream:
            stream.write("\n# mine\n")
    (first / "first_model" / "own.py").write_text("OWN = 1\n", encoding="utf-8")
    (first / "tests" / "test_contract.py").unlink()
    release(workspace, "mine")
    before = files_of(workspace)
    words = ["--quiet", "--defaults", "--vcs-ref", OLD, "--answers-file", ".copier-answers.first_model.yml"]
    succeed(["copier", "update", *words], first)
    assert not git(workspace, "ls-files", "--unmerged")
    after = files_of(workspace)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed == {
        "first_model/.copier-answers.first_model.yml",
        "first_model/requirements/xlm.txt",
        "first_model/setup.py",
    }
    text = (first / "setup.py").read_text(encoding="utf-8")
    assert f"# {OLDEST}" not in text and text.endswith("# mine\n")
    release(workspace, "updated")
    succeed(["copier", "update", "--quiet", "--defaults", *words[-2:]], first)
    assert git(workspace, "status", "--porcelain") == ""


def test_the_script_of_a_model_finds_its_own_answers(workspace: Path) -> None:
    succeed(["second_model/scripts/update"], workspace)
    changed = git(workspace, "diff", "--name-only").split()
    assert changed and all(path.startswith("second_model/") for path in changed)
    (workspace / "first_model/.copier-answers.yml").write_text("{}\n", encoding="utf-8")
    release(workspace, "two-files-of-answers")
    done = run(["first_model/scripts/update"], workspace)
    assert done.returncode == 1
    assert "Found .copier-answers.first_model.yml and .copier-answers.yml" in done.stderr
    assert "Name it with --answers-file." in done.stderr


def test_open_changes_of_another_model_stop_an_update(workspace: Path) -> None:
    """Copier looks in the model's own directory, and then lets git write to all of the repository."""
    second = workspace / "second_model"

    def refused(told: str) -> None:
        before = files_of(workspace)
        done = run(["first_model/scripts/update"], workspace)
        assert done.returncode == 1 and done.stderr.startswith(f"Found {told}"), done.stderr
        assert len(done.stderr.splitlines()) == 1 and done.stderr.endswith(" Nothing has changed.\n")
        assert files_of(workspace) == before

    def clean() -> None:
        git(workspace, "reset", "--quiet", "--hard")
        git(workspace, "clean", "--quiet", "--force", "-d")

    unsaved = "changes that are in no commit, expected none in all of the repository: second_model"
    with (second / "setup.py").open("a", encoding="utf-8") as stream:
        stream.write("# mine\n")
    refused(f"{unsaved}/setup.py. Commit them")
    (second / "setup.py.rej").write_text("mine\n", encoding="utf-8")
    refused("second_model/setup.py.rej in the repository")
    assert "?? second_model/setup.py.rej" in git(workspace, "status", "--porcelain")  # nor does the template ignore it
    clean()
    (second / "LICENSE").unlink()
    refused(f"{unsaved}/LICENSE.")
    clean()
    for name in "abcd":
        (second / name).write_text("mine\n", encoding="utf-8")
    git(workspace, "config", "status.showUntrackedFiles", "no")
    refused(f"{unsaved}/a, second_model/b, second_model/c and 1 more.")
    git(workspace, "config", "--unset", "status.showUntrackedFiles")
    clean()
    (workspace / ".git/info/exclude").write_text("*.rej\n", encoding="utf-8")
    (second / "mine.rej").write_text("mine\n", encoding="utf-8")
    refused("second_model/mine.rej in the repository")
    (second / "mine.rej").unlink()
    (workspace / "README.md.rej").write_text("mine\n", encoding="utf-8")
    git(workspace, "add", "--force", "README.md.rej")
    git(workspace, "commit", "--quiet", "--message", "Where a merge of README.md would leave its rest")
    refused("README.md.rej in the repository")


def test_the_workflows_work_at_the_root_as_documented(workspace: Path) -> None:
    """With a last line that says where their commands run; other paths of theirs are read at the root."""
    for file in (workspace / "first_model/.github/workflows").iterdir():
        text = file.read_text(encoding="utf-8") + "defaults: {run: {working-directory: first_model}}\n"
        moved = workspace / ".github/workflows" / f"first_model-{file.name}"
        moved.parent.mkdir(parents=True, exist_ok=True)
        moved.write_text(text, encoding="utf-8")
        assert faults(moved, workspace) == []
    (job,) = yaml.safe_load((workspace / ".github/workflows/first_model-ci.yml").read_text(encoding="utf-8"))["jobs"].values()
    (python,) = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    for pattern in python["cache-dependency-path"].split():
        assert list(workspace.glob(pattern)), pattern


def test_a_model_joins_a_repository_that_is_there(published: Path, tmp_path: Path) -> None:
    """Nothing of the repository is touched, by the copy or by a later update."""
    repository = tmp_path / "research"
    (repository / "src").mkdir(parents=True)
    for path, text in {"README.md": "Mine.\n", "setup.py": "MINE = 1\n", "src/mine.py": "MINE = 1\n"}.items():
        (repository / path).write_text(text, encoding="utf-8")
    git(repository, "init", "--quiet")
    release(repository, "mine")
    own = files_of(repository)
    copy(published, "new_model", repository)
    (repository / "xlm_models.json").write_text('{"new_model": "new_model"}', encoding="utf-8")
    assert "star_easy_new_model" in succeed(["xlm"], repository)
    release(repository, "with-a-model")
    succeed(["copier", "update", "--quiet", "--defaults", "--vcs-ref", OLD], repository / "new_model")
    after = files_of(repository)
    assert {path: after[path] for path in own} == own
    assert f"@{OLD}#" in (repository / "new_model/requirements/xlm.txt").read_text(encoding="utf-8")


def test_scaffolding_makes_a_workspace(tmp_path: Path) -> None:
    for name in NAMES:
        assert run(["xlm-scaffold", name], tmp_path).returncode == 0
    registry = json.loads((tmp_path / "xlm_models.json").read_text(encoding="utf-8"))
    assert registry == {name: name for name in NAMES}
    listed = succeed(["xlm"], tmp_path)
    assert all(f"star_easy_{name}" in listed for name in NAMES)
