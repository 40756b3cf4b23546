"""The upgrade matrix: from every release, for every starting point, an update loses nothing and brings everything.

A project has edited seeds and managed files, a deleted one of each kind, and files of its own. After the update it is
what a fresh copy would be, with these edits; its seeds are as they were, unless it follows its starting point.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from releases import COPIER_YML, NEXT, OLD, OLDEST, earlier, replace, repository
from snapshot import git, release
from pathspec import PathSpec
from rendering import QUESTIONS, STARTING_POINTS, files_of, succeed

NAME = "my_model"
ANSWERS = ".copier-answers.yml"
SEEDS = PathSpec.from_lines("gitignore", [line.replace("{{ model_name }}", NAME) for line in QUESTIONS["seeds"]["default"]])
DELETED = "tests/test_contract.py"
DELETED_SEED = f"{NAME}/metrics_{NAME}.py"
#: path -> what the user puts at its end.
EDITS = {
    f"{NAME}/loss_{NAME}.py": "\n\ndef mine() -> int:\n    return 1\n",
    "README.md": "\nMine.\n",
    "setup.py": "\n# mine\n",
    "scripts/check": "# mine\n",
    f"configs/collator/lm_{NAME}.yaml": "# mine\n",
    "notes.md": "Mine.\n",
    f"{NAME}/own.py": "OWN = 1\n",
}


class Template:
    """The repository of releases, and fresh copies of them."""

    def __init__(self, directory: Path, change: Callable[[Path], None] = lambda directory: None) -> None:
        self.checkout = directory / "xlm-template"
        self.current = repository(self.checkout, change)
        self._copies = directory / "copies"
        self._copies.mkdir()

    def copy(self, tag: str, point: str, follow: bool, target: Path) -> Path:
        """A fresh copy; made once for each tag, starting point and answer."""
        made = self._copies / f"{tag}-{point}-{follow}"
        if not made.exists():
            answers = {"model_name": NAME, "starting_point": point, "follow_starting_point": str(follow).lower()}
            words = [word for key, value in answers.items() for word in ("-d", f"{key}={value}")]
            command = ["copier", "copy", "--quiet", "--defaults", "--vcs-ref", tag, *words]
            succeed([*command, str(self.checkout), str(made)], self._copies)
        shutil.copytree(made, target)
        return target


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(tmp_path_factory.mktemp("releases"))


def is_seed(path: str) -> bool:
    return SEEDS.match_file(path)


def make_edits(project: Path, delete_seed: bool) -> None:
    for path, text in EDITS.items():
        with (project / path).open("a", encoding="utf-8") as stream:
            stream.write(text)
    (project / DELETED).unlink()
    if delete_seed:
        (project / DELETED_SEED).unlink()


def started(template: Template, tag: str, point: str, follow: bool, place: Path) -> Path:
    """A project that was made from a release and worked on since."""
    project = template.copy(tag, point, follow, place)
    git(project, "init", "--quiet")
    make_edits(project, delete_seed=not follow)
    release(project, "mine")
    return project


def update(project: Path, *words: str) -> str:
    return succeed(["copier", "update", "--quiet", "--defaults", *words], project)


def assert_nothing_is_left_open(project: Path) -> None:
    assert not git(project, "ls-files", "--unmerged")
    assert not list(project.rglob("*.rej"))
    assert not list(project.rglob("*.orig"))


def expected_files(template: Template, old: str, new: str, point: str, follow: bool, place: Path) -> dict[str, bytes]:
    """Of a fresh copy of the new release with the edits; seeds that are not followed are the old release's."""
    fresh = template.copy(new, point, follow, place / "fresh")
    if not follow:
        before = template.copy(old, point, follow, place / "before")
        for path in filter(is_seed, {*files_of(fresh), *files_of(before)}):
            (fresh / path).unlink(missing_ok=True)
            if (before / path).is_file():
                (fresh / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(before / path, fresh / path)
    make_edits(fresh, delete_seed=not follow)
    return files_of(fresh)


def check_upgrade(template: Template, old: str, new: str, point: str, follow: bool, place: Path) -> None:
    project = started(template, old, point, follow, place / "project")
    update(project, "--vcs-ref", new)
    assert_nothing_is_left_open(project)
    expected = expected_files(template, old, new, point, follow, place)
    found = files_of(project)
    assert found.keys() == expected.keys()
    assert [path for path in expected if found[path] != expected[path]] == []
    version = new.removesuffix(".post1")  # of the working tree, where its own is released already
    assert f"@{version}#" in (project / "requirements/xlm.txt").read_text(encoding="utf-8")
    release(project, "updated")
    update(project, "--vcs-ref", new)
    assert git(project, "status", "--porcelain") == ""  # a second update changes nothing


@pytest.mark.parametrize("follow", [False, True], ids=["seeds-left-alone", "seeds-followed"])
@pytest.mark.parametrize("point", STARTING_POINTS)
def test_an_update_from_every_earlier_release(template: Template, tmp_path: Path, point: str, follow: bool) -> None:
    """Of the invented releases, the oldest has a seed that is dropped later, which no one who follows may be given."""
    releases = earlier(template.checkout, template.current)
    assert {OLDEST, OLD} <= set(releases)
    for old in releases:
        if old != (OLDEST if follow else OLD):
            (tmp_path / old).mkdir()
            check_upgrade(template, old, template.current, point, follow, tmp_path / old)


@pytest.mark.parametrize("point", STARTING_POINTS)
def test_an_update_to_the_release_after_this_one(template: Template, tmp_path: Path, point: str) -> None:
    check_upgrade(template, template.current, NEXT, point, point == "skeleton", tmp_path)


def test_the_releases_differ_in_every_class_of_file(template: Template, tmp_path: Path) -> None:
    """A matrix between equal releases would prove nothing."""
    old = files_of(template.copy(OLDEST, "arlm", True, tmp_path / "old"))
    new = files_of(template.copy(template.current, "arlm", True, tmp_path / "new"))
    changed = {path for path in old.keys() & new.keys() if old[path] != new[path]}
    assert {f"{NAME}/loss_{NAME}.py", "README.md", "setup.py", "scripts/check", "requirements/xlm.txt"} <= changed
    assert f"configs/collator/lm_{NAME}.yaml" in changed
    assert old.keys() - new.keys() == {f"configs/experiment/gone_{NAME}.yaml"}
    assert new.keys() - old.keys() == {".pre-commit-config.yaml"}
    assert os.access(tmp_path / "new/scripts/check", os.X_OK)


# -- a broken template is noticed ----------------------------------------------------------------------------------


def merge_seeds_too(template: Path) -> None:
    entry = """  - '{% if _copier_operation == "update" and not follow_starting_point %}{{ seeds | join("\\n") }}{% endif %}'\n"""
    replace(template / COPIER_YML, entry, "")


def leave_the_pin_behind(template: Path) -> None:
    pin = f"xlm-runtime=={OLD.removeprefix('v')}\n"
    (template / "template/requirements/xlm.txt.jinja").write_text(pin, encoding="utf-8")


def render_where_the_template_was(template: Path) -> None:
    file = template / "template/CHANGELOG.md.jinja"
    file.write_text(file.read_text(encoding="utf-8") + "\nFrom {{ _copier_conf.src_path }}.\n", encoding="utf-8")


def remove_a_managed_file(template: Path) -> None:
    (template / "template/scripts/check").unlink()


BROKEN = [merge_seeds_too, leave_the_pin_behind, render_where_the_template_was, remove_a_managed_file]


@pytest.mark.parametrize("change", BROKEN, ids=lambda change: change.__name__)
def test_the_matrix_notices_a_broken_template(change: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    broken = Template(tmp_path / "releases", change)
    with pytest.raises(AssertionError):
        check_upgrade(broken, OLD, broken.current, "skeleton", False, tmp_path)
