"""The commands of the documentation, as a user types them: `copier copy` and `copier update`, never with --trust."""

import shutil
from pathlib import Path

import pytest
import yaml
from rendering import QUESTIONS, run, succeed


@pytest.fixture(scope="module")
def released(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a git repository with one release."""
    checkout = tmp_path_factory.mktemp("released") / "xlm-template"
    shutil.copytree(template, checkout)
    git(checkout, "init", "--quiet")
    release(checkout, "v0.1.0")
    return checkout


def git(directory: Path, *words: str) -> str:
    user = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    return succeed(["git", *user, *words], directory)


def release(checkout: Path, tag: str) -> None:
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", tag)
    git(checkout, "tag", tag)


def test_the_template_needs_no_trust() -> None:
    assert not {"_tasks", "_jinja_extensions"} & QUESTIONS.keys()  # a migration asks for it once: test_updates.py


def test_copy_beside_the_checkout(released: Path) -> None:
    answers = ["model_name=my_model", "starting_point=arlm"]
    words = [word for answer in answers for word in ("-d", answer)]
    done = run(["copier", "copy", "--defaults", *words, ".", "../my_model"], released)
    assert done.returncode == 0, done.stderr
    told = done.stderr[done.stderr.index("my_model is complete") :]
    assert "Commit it (git init, if" in told
    assert [line.strip() for line in told.splitlines() if line.startswith("    ")] == [
        "cd ../my_model",
        'pip install --editable ".[dev]"',
        "xlm job_type=train job_name=first experiment=star_easy_my_model debug=overfit",
    ]
    recorded = yaml.safe_load((released.parent / "my_model/.copier-answers.yml").read_text(encoding="utf-8"))
    assert (recorded["_commit"], recorded["starting_point"]) == ("v0.1.0", "arlm")
    assert "star_easy_my_model" in succeed(["xlm"], released.parent / "my_model")


def test_copy_with_a_name_and_nothing_else(released: Path, tmp_path: Path) -> None:
    succeed(["copier", "copy", "--defaults", "-d", "model_name=x2", str(released), "x2"], tmp_path)
    assert (tmp_path / "x2/x2/model_x2.py").is_file()


def test_a_bad_name_makes_nothing(released: Path, tmp_path: Path) -> None:
    done = run(["copier", "copy", "--defaults", "-d", "model_name=My-Model", str(released), "made"], tmp_path)
    assert done.returncode != 0
    assert "expected snake_case" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("follow", [False, True])
def test_a_second_copy_keeps_the_users_files(released: Path, tmp_path: Path, follow: bool) -> None:
    words = ["-d", "model_name=my_model", "-d", f"follow_starting_point={str(follow).lower()}"]
    command = ["copier", "copy", "--defaults", "--overwrite", *words, str(released), "made"]
    succeed(command, tmp_path)
    seed, managed, own = (tmp_path / "made" / file for file in ("README.md", "setup.py", "my_model/own.py"))
    for file in (seed, managed, own):
        file.write_text("mine\n", encoding="utf-8")
    succeed(command, tmp_path)
    assert (seed.read_text(encoding="utf-8") == "mine\n") is not follow
    assert managed.read_text(encoding="utf-8") != "mine\n"
    assert own.read_text(encoding="utf-8") == "mine\n"


def test_an_update_brings_what_is_managed_and_leaves_the_rest(released: Path, tmp_path: Path) -> None:
    checkout, project = tmp_path / "xlm-template", tmp_path / "my_model"
    git(tmp_path, "clone", "--quiet", str(released), str(checkout))
    succeed(["copier", "copy", "--defaults", "-d", "model_name=my_model", str(checkout), str(project)], tmp_path)
    git(project, "init", "--quiet")
    loss, model = project / "my_model/loss_my_model.py", project / "my_model/model_my_model.py"
    check, own = project / "scripts/check", project / "my_model/own.py"
    append(loss, "# mine\n")
    model.unlink()
    append(check, "# mine\n")
    append(own, "# mine\n")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "my own work")

    # The next release changes a seed, another seed that was deleted, a managed file, and the runtime's version.
    components = checkout / "reference-models/skeleton/skeleton"
    for component in (components / "loss_skeleton.py", components / "model_skeleton.py"):
        append(component, "# theirs\n")
    script = checkout / "template/scripts/check"
    script.write_text(script.read_text(encoding="utf-8").replace("\n", "\n# theirs\n", 1), encoding="utf-8")
    (checkout / "runtime/xlm_runtime/VERSION").write_text("0.2.0\n", encoding="utf-8")
    release(checkout, "v0.2.0")
    succeed(["copier", "update", "--defaults"], project)

    assert not git(project, "ls-files", "--unmerged")
    assert not list(project.rglob("*.rej"))
    assert loss.read_text(encoding="utf-8").endswith("# mine\n")
    assert "# theirs" not in loss.read_text(encoding="utf-8")
    assert not model.exists()
    assert own.read_text(encoding="utf-8") == "# mine\n"
    assert "# theirs" in check.read_text(encoding="utf-8")
    assert check.read_text(encoding="utf-8").endswith("# mine\n")
    assert "@v0.2.0#" in (project / "requirements/xlm.txt").read_text(encoding="utf-8")
    assert "_commit: v0.2.0" in (project / ".copier-answers.yml").read_text(encoding="utf-8")


def append(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write(text)
