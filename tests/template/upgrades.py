"""One update of the matrix: a project in which every file is edited, and what must have become of it.

After the update it is what a fresh copy would be, with these edits; its seeds are as they were, unless it follows its
starting point. The edit of a file stands where the two releases have the longest run of lines in common, so that what a
release changes elsewhere, at the end of a file too, is no conflict.
"""

from __future__ import annotations

import shutil
from difflib import SequenceMatcher
from pathlib import Path

from pathspec import PathSpec
from releases import trust
from rendering import QUESTIONS, files_of, succeed
from snapshot import VERSION_FILE, git, release

NAME = "my_model"
SEEDS = PathSpec.from_lines("gitignore", [line.replace("{{ model_name }}", NAME) for line in QUESTIONS["seeds"]["default"]])
NOT_EDITED = ".copier-answers.yml"
DELETED = ("tests/test_contract.py",)
DELETED_SEEDS = (f"{NAME}/metrics_{NAME}.py",)
OWN = {"notes.md": b"Mine.\n", f"{NAME}/own.py": b"OWN = 1\n"}
Files = dict[str, bytes]


class Template:
    """A repository of releases, and fresh copies of them; a copy is made once for each tag, point and answer."""

    def __init__(self, checkout: Path, current: str) -> None:
        self.checkout, self.current = checkout, current
        self._copies = checkout.parent / f"{checkout.name}-copies"
        self._copies.mkdir()

    def copy(self, tag: str, point: str, follow: bool) -> Path:
        made = self._copies / f"{tag}-{point}-{follow}"
        if not made.exists():
            answers = {"model_name": NAME, "starting_point": point, "follow_starting_point": str(follow).lower()}
            words = [word for key, value in answers.items() for word in ("-d", f"{key}={value}")]
            command = ["copier", "copy", "--quiet", "--defaults", "--vcs-ref", tag, *words]
            succeed([*command, str(self.checkout), str(made)], self._copies)
        return made


def is_seed(path: str) -> bool:
    return SEEDS.match_file(path)


def common(old: bytes, new: bytes) -> tuple[int, int, int]:
    """Of the longest run of lines that both have: where it begins in each, and its length."""
    lines = [text.splitlines() for text in (old, new)]
    found = SequenceMatcher(None, *lines, autojunk=False).find_longest_match()
    return found.a, found.b, found.size


def with_edit(old: bytes, new: bytes, path: str) -> tuple[bytes, bytes]:
    """Both with a line of the user's in the same surroundings; as they are, where they have none in common."""
    in_old, in_new, size = common(old, new)
    if size < 2 and old != new:
        return old, new
    edited = []
    for text, start in ((old, in_old), (new, in_new)):
        lines = text.splitlines(keepends=True)
        edited.append(b"".join([*lines[: start + size // 2], mine(path), *lines[start + size // 2 :]]))
    return edited[0], edited[1]


def mine(path: str) -> bytes:
    return f"# mine, in {path}\n".encode()


def place_now(path: str, before: Files, after: Files) -> str:
    """Where the file is in the new release: if it is gone, in a new file that has half of its lines in one run, if any."""
    half = len(before[path].splitlines()) / 2
    moved = [new for new in sorted(after.keys() - before.keys()) if common(before[path], after[new])[2] > half]
    return path if path in after or not moved else moved[0]


def check_upgrade(
    template: Template, old: str, new: str, point: str, follow: bool, place: Path, again: bool = False
) -> None:
    """Make a project from release ``old``, edit all of it, update it to ``new``, and compare.

    Args:
        again: a second update, too, which must change nothing.
    """
    before, after = (files_of(template.copy(tag, point, follow)) for tag in (old, new))
    if not follow:
        seeds = {path: text for path, text in before.items() if is_seed(path)}
        after = {path: text for path, text in after.items() if not is_seed(path)} | seeds
    project = place / "project"
    shutil.copytree(template.copy(old, point, follow), project)
    edited, expected, gone = dict(before), dict(after), dict[str, tuple[str, bytes]]()
    for path in before.keys() - {NOT_EDITED}:
        now = place_now(path, before, after)
        edited[path], text = with_edit(before[path], after.get(now, before[path]), path)
        if path in after:
            expected[path] = text
        elif mine(path) in edited[path]:
            gone[path] = now, text
    for path in DELETED if follow else DELETED + DELETED_SEEDS:
        for files in (edited, expected):
            files.pop(path, None)
    write(project, edited | OWN)

    git(project, "init", "--quiet")
    release(project, "mine")

    def update(*words: str) -> None:
        succeed(["copier", "update", "--quiet", "--defaults", *words], project)

    update("--vcs-ref", new, *trust(template.checkout, old, new))
    found = files_of(project)
    conflicts = set(git(project, "diff", "--name-only", "--diff-filter=U").split())
    for path, (now, text) in gone.items():
        if path in found:  # left to its user
            expected[path] = edited[path]
        elif now in conflicts and after[now] != before[path] and mine(path) in found[now]:  # moved and changed: told
            conflicts.remove(now)
            expected[now] = found[now]
        else:
            expected[now] = text
    assert not conflicts
    assert not list(project.rglob("*.rej")) + list(project.rglob("*.orig"))
    assert found.keys() == (expected | OWN).keys()
    assert [path for path, text in (expected | OWN).items() if found[path] != text] == []
    version = git(template.checkout, "show", f"{new}:{VERSION_FILE.as_posix()}").strip()
    assert f"@v{version}#" in (project / "requirements/xlm.txt").read_text(encoding="utf-8")
    if again:
        release(project, "updated")
        update("--vcs-ref", new)
        assert git(project, "status", "--porcelain") == ""


def write(project: Path, files: Files) -> None:
    """Make the files of a project these; their modes stay."""
    for path in files_of(project).keys() - files.keys():
        (project / path).unlink()
    for path, text in files.items():
        (project / path).write_bytes(text)
