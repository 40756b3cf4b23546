"""The template as a git repository with releases: those of this repository, invented earlier ones, and the next one.

v0.0.1, v0.0.2   invented: the working tree with some of its lines and files taken back
v*               the tags of this repository
the working tree, with a tag above all of these
v100000.0.0      invented: a line more here and there
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml
from rendering import ROOT, STARTING_POINTS
from snapshot import TEMPLATE, VERSION_FILE, clone, git, lay, next_tag, numbers, release, releases

OLDEST, OLD, NEXT = "v0.0.1", "v0.0.2", "v100000.0.0"
COPIER_YML = Path("copier.yml")
#: The first that there is does not exist yet in OLDEST.
MANAGED = ("template/.pre-commit-config.yaml", "template/MANIFEST.in")


def repository(directory: Path, change: Callable[[Path], None] = lambda directory: None) -> str:
    """Make the repository with all releases; returns the tag of the working tree, after ``change`` of its files."""
    clone(ROOT, directory, TEMPLATE)
    current = next_tag(directory)
    for tag, age in ((OLDEST, make_oldest), (OLD, make_old), (current, change), (NEXT, make_next)):
        age(directory)
        release(directory, tag)
        lay(ROOT, directory, TEMPLATE)
    return current


def two_releases(checkout: Path) -> None:
    """OLDEST and OLD, told apart by a line of a managed file, setup.py, and one of a seed, the skeleton's loss."""
    clone(ROOT, checkout, TEMPLATE)
    set_version(checkout, OLDEST)
    add_line(checkout / "template/setup.py.jinja", OLDEST)
    release(checkout, OLDEST)
    set_version(checkout, OLD)
    replace(checkout / "template/setup.py.jinja", f"# {OLDEST}\n", "")
    add_line(checkout / "reference-models/skeleton/skeleton/loss_skeleton.py", OLD)
    release(checkout, OLD)


def earlier(checkout: Path, current: str) -> list[str]:
    """The tags below the working tree's."""
    return [tag for tag in releases(checkout) if tag not in (current, NEXT)]


def trust(checkout: Path, old: str, new: str) -> list[str]:
    """`--trust`, where a migration lies between two releases, and nowhere else."""
    migrations = yaml.safe_load(git(checkout, "show", f"{new}:copier.yml")).get("_migrations", [])
    asked = any(numbers(old) < numbers(migration["version"]) <= numbers(new) for migration in migrations)
    return ["--trust"] if asked else []


# -- what the invented releases have, and have not -----------------------------------------------------------------


def make_oldest(directory: Path) -> None:
    """Other lines in every class of file, a managed file that does not exist yet, a seed that is dropped later."""
    make_old(directory)
    set_version(directory, OLDEST)
    next(file for file in map(directory.joinpath, MANAGED) if file.exists()).unlink()
    add_line(directory / "template/scripts/check", OLDEST)
    add_line(directory / "template/setup.py.jinja", OLDEST)
    for point in STARTING_POINTS:
        configs = directory / "reference-models" / point / "configs"
        add_line(configs / f"collator/lm_{point}.yaml", OLDEST)
        add_line(configs / f"experiment/star_easy_{point}.yaml", OLDEST)
        shutil.copy2(configs / f"experiment/star_easy_{point}.yaml", configs / f"experiment/gone_{point}.yaml")
    replace(
        directory / COPIER_YML,
        "- experiment/star_easy_NAME",
        "- experiment/gone_NAME\n        - experiment/star_easy_NAME",
    )


def make_old(directory: Path) -> None:
    """Another line in the components and in the README."""
    set_version(directory, OLD)
    for point in STARTING_POINTS:
        for file in (directory / "reference-models" / point / point).glob(f"*_{point}.py"):
            add_line(file, OLD)
    add_line(directory / "template/README.md.jinja", OLD)


def make_next(directory: Path) -> None:
    """A line more in managed files and in the components."""
    set_version(directory, NEXT)
    for point in STARTING_POINTS:
        add_line(directory / "reference-models" / point / point / f"loss_{point}.py", NEXT)
        add_line(directory / "reference-models" / point / f"configs/collator/lm_{point}.yaml", NEXT)
    add_line(directory / "template/scripts/check", NEXT)


def set_version(directory: Path, tag: str) -> None:
    (directory / VERSION_FILE).write_text(f"{tag.removeprefix('v')}\n", encoding="utf-8")


def add_line(file: Path, tag: str) -> None:
    """A comment before the first line that is none. What is lawfully gone has none."""
    if not file.exists():
        return
    comment = f"<!-- {tag} -->\n" if ".md" in file.name else f"# {tag}\n"
    first = {".py": r"(from|import) ", ".md": r"\S"}.get(Path(file.name.removesuffix(".jinja")).suffix, r"[^#\s]")
    insert_before(file, rf"(?m)^{first}", comment)


def insert_before(file: Path, pattern: str, text: str) -> None:
    content = file.read_text(encoding="utf-8")
    found = re.search(pattern, content)
    assert found, f"{pattern!r} is not in {file}"
    file.write_text(content[: found.start()] + text + content[found.start() :], encoding="utf-8")


def replace(file: Path, old: str, new: str) -> None:
    content = file.read_text(encoding="utf-8")
    assert old in content, f"{old!r} is not in {file}"
    file.write_text(content.replace(old, new), encoding="utf-8")
