"""`xlm-scaffold`, as a process: from the checkout, and from an installed wheel without a network."""

import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from releases import NEXT, repository
from rendering import ROOT, STARTING_POINTS, files_of, run, succeed
from snapshot import git, release, version

from xlm_runtime import __version__

SCAFFOLD = [sys.executable, "-m", "xlm_runtime.scaffold"]


def refused(words: list[str], cwd: Path) -> str:
    """The one line that says why, and nothing made or changed."""
    before = files_of(cwd)
    done = run([*SCAFFOLD, *words], cwd)
    assert done.returncode == 2, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("Error: ")
    assert files_of(cwd) == before
    return lines[0]


def registered(cwd: Path) -> dict[str, str]:
    entries: dict[str, str] = json.loads((cwd / "xlm_models.json").read_text(encoding="utf-8"))
    return entries


def test_a_new_model_is_registered_and_composes(tmp_path: Path) -> None:
    told = succeed([*SCAFFOLD, "my_awesome_model"], tmp_path)
    assert registered(tmp_path) == {"my_awesome_model": "my_awesome_model"}
    commands = [line.strip() for line in told.splitlines() if line.startswith("    ")]
    assert commands == [
        "xlm job_type=train job_name=first experiment=star_easy_my_awesome_model debug=overfit",
        "xlm job_type=eval job_name=first",
        "xlm job_type=generate job_name=first",
    ]
    assert "star_easy_my_awesome_model" in succeed(["xlm"], tmp_path)
    composed = succeed(["xlm", "--cfg", "job", *commands[0].split()[1:]], tmp_path)
    assert "_target_: my_awesome_model.model_my_awesome_model.MyAwesomeModelModel" in composed
    assert sorted(file.name for file in tmp_path.iterdir()) == ["my_awesome_model", "xlm_models.json"]


def test_every_option_reaches_its_question(tmp_path: Path) -> None:
    words = [
        *("--starting-point", "arlm", "--description", 'It says "yes"', "--author", "Ada", "--license", "MIT"),
        *("--runtime-source", "index", "--directory", "place/my repository"),
    ]
    (tmp_path / "place").mkdir()
    succeed([*SCAFFOLD, "my_model", *words], tmp_path)
    assert registered(tmp_path) == {"my_model": "place/my repository"}
    file = tmp_path / "place/my repository/.copier-answers.yml"
    assert yaml.safe_load(file.read_text(encoding="utf-8")) == {
        "_commit": f"v{__version__}",
        "_src_path": "gh:org/xlm-template",
        "model_name": "my_model",
        "starting_point": "arlm",
        "description": 'It says "yes"',
        "author": "Ada",
        "license": "MIT",
        "copyright_year": "2026",
        "runtime_source": "index",
        "follow_starting_point": False,
        "adopted": False,
    }
    assert "my_model" in succeed(["xlm"], tmp_path)


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "my_model").mkdir()
    succeed([*SCAFFOLD, "my_model"], tmp_path)
    assert (tmp_path / "my_model/setup.py").is_file()


def test_a_second_model_joins_the_first(tmp_path: Path) -> None:
    for name in ("my_model", "another_model"):
        succeed([*SCAFFOLD, name], tmp_path)
    assert registered(tmp_path) == {"my_model": "my_model", "another_model": "another_model"}


def test_nothing_is_ever_made_twice(tmp_path: Path) -> None:
    succeed([*SCAFFOLD, "my_model"], tmp_path)
    (tmp_path / "my_model/my_model/loss_my_model.py").write_text("mine\n", encoding="utf-8")
    message = refused(["my_model"], tmp_path)
    assert "is a model already" in message and str(tmp_path / "my_model") in message
    assert "is a model already" in refused(["my_model", "--directory", "elsewhere"], tmp_path)


def test_a_directory_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "my_model").mkdir()
    (tmp_path / "my_model/notes.txt").write_text("mine\n", encoding="utf-8")
    assert "is not empty" in refused(["my_model"], tmp_path)
    (tmp_path / "other_model").write_text("a file\n", encoding="utf-8")
    assert "exists already" in refused(["other_model"], tmp_path)
    assert "current directory" in refused(["third_model", "--directory", "."], tmp_path)
    assert "is not a directory" in refused(["third_model", "--directory", "no/such/place"], tmp_path)


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("MyModel", "my_model"),
        ("my-awesome model", "my_awesome_model"),
        ("GPTStyleLM2", "gpt_style_lm2"),
        ("2nd_model", "my_model_2nd_model"),
        ("2", "my_model_2"),
        ("", "my_model"),
        ("../up", "up"),
        ("a" * 50, "a" * 40),
        ("torch", "torch_lm"),
        ("class", "class_lm"),
        ("arlm", "arlm_lm"),
        ("skeleton", "skeleton_lm"),
    ],
)
def test_a_bad_name_gets_a_better_one(tmp_path: Path, name: str, better: str) -> None:
    assert refused([name], tmp_path).endswith(f"Did you mean '{better}'?")


def test_a_name_of_a_core_model_is_refused_for_its_starting_point_too(tmp_path: Path) -> None:
    assert "is taken" in refused(["arlm", "--starting-point", "arlm"], tmp_path)


def test_other_bad_answers(tmp_path: Path) -> None:
    message = refused(["my_model", "--starting-point", "arml"], tmp_path)
    assert "Did you mean 'arlm'?" in message
    assert all(point in message for point in STARTING_POINTS)
    assert "Expected one line of text" in refused(["my_model", "--description", "two\nlines"], tmp_path)
    assert "Apache-2.0" in refused(["my_model", "--license", "GPL"], tmp_path)


def test_a_broken_registry_stops_it_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "xlm_models.json").write_text("{", encoding="utf-8")
    done = run([*SCAFFOLD, "my_model"], tmp_path)
    assert done.returncode == 2
    assert "not valid JSON" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["xlm_models.json"]


def test_help_names_every_option(tmp_path: Path) -> None:
    told = succeed([*SCAFFOLD, "--help"], tmp_path)
    assert told.startswith("usage: xlm-scaffold ")
    for option in ("--starting-point", "--description", "--author", "--license", "--runtime-source", "--directory"):
        assert option in told


def test_from_a_wheel_without_a_network(tmp_path: Path) -> None:
    """And later `copier update`, from the template's address. The wheel is built from an sdist, that in a copy."""
    for part in ("copier.yml", "template", "reference-models", "runtime"):
        source, target = ROOT / part, tmp_path / "checkout" / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*_cache", "__pycache__", "build", "runs"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    succeed([sys.executable, "-c", build], tmp_path / "checkout/runtime")
    (sdist,) = tmp_path.glob("*.tar.gz")
    shutil.rmtree(tmp_path / "checkout")
    succeed([sys.executable, "-m", "pip", "wheel", *offline, str(sdist)], tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    work = tmp_path / "work"
    work.mkdir()
    variables = {"PYTHONPATH": str(tmp_path / "site"), "https_proxy": "http://127.0.0.1:9", "GIT_ALLOW_PROTOCOL": ""}
    where = [sys.executable, "-c", "import xlm_runtime; print(xlm_runtime.__file__)"]
    assert succeed(where, work, **variables).startswith(str(tmp_path / "site"))

    succeed([*SCAFFOLD, "my_model", "--starting-point", "arlm"], work, **variables)
    assert registered(work) == {"my_model": "my_model"}
    from_wheel = files_of(work / "my_model")
    succeed([*SCAFFOLD, "my_model", "--starting-point", "arlm"], tmp_path)
    assert from_wheel == files_of(tmp_path / "my_model")

    template = tmp_path / "published"
    current = repository(template)
    git(template, "tag", "--force", f"v{version(ROOT)}", current)  # as if it had been released
    address = {f"GIT_CONFIG_{key}": value for key, value in _instead_of(template).items()}
    project = work / "my_model"
    git(project, "init", "--quiet")
    release(project, "made")
    succeed(["copier", "update", "--quiet", "--defaults"], project, **address)
    assert not git(project, "ls-files", "--unmerged")
    assert f"@{NEXT}#" in (project / "requirements/xlm.txt").read_text(encoding="utf-8")
    assert f"# {NEXT}\n" in (project / "scripts/check").read_text(encoding="utf-8")
    changed = set(git(project, "diff", "--name-only").split())
    assert changed == {".copier-answers.yml", "configs/collator/lm_my_model.yaml", "requirements/xlm.txt", "scripts/check"}


def _instead_of(template: Path) -> dict[str, str]:
    """What makes git go to a local repository where it is asked for the template's address."""
    return {
        "COUNT": "1",
        "KEY_0": f"url.file://{template}.insteadOf",
        "VALUE_0": "https://github.com/org/xlm-template.git",
    }
