"""The working tree as a release of a git repository: what Copier takes a template from."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

VERSION_FILE = Path("runtime/xlm_runtime/VERSION")
#: All that Copier reads of this repository: a tenth of the files of every clone that it makes.
TEMPLATE = ("copier.yml", "template", "reference-models", VERSION_FILE.as_posix())
_AUTHOR = ("-c", "user.name=xLM", "-c", "user.email=xlm@example.org", "-c", "commit.gpgsign=false")


def git(directory: Path, *words: str) -> str:
    """What git prints.

    Raises:
        RuntimeError: git's own message.
    """
    done = subprocess.run(["git", *_AUTHOR, *words], cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(words)} in {directory}: {done.stderr.strip()}")
    return done.stdout


def clone(source: Path, target: Path, paths: Sequence[str] = ()) -> None:
    """A clone with all tags, whose working tree is the source's, new and uncommitted files included.

    Its objects are packed, so that it is in turn cloned quickly.

    Args:
        source: a git repository.
        target: is made.
        paths: files and directories that are wanted, such as ``TEMPLATE``; none: all.
    """
    git(target.parent, "clone", "--quiet", "--no-local", "--no-checkout", str(source), str(target))
    lay(source, target, paths)
    git(target, "reset", "--quiet")


def lay(source: Path, target: Path, paths: Sequence[str] = ()) -> None:
    """Replace all files of ``target`` by those of the working tree of the git repository ``source``."""
    for path in target.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    words = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths]
    for name in git(source, *words).split("\0"):
        if name and (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def release(repository: Path, tag: str) -> None:
    """Commit all that differs, and tag it."""
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", tag)
    git(repository, "tag", "--force", tag)


def releases(repository: Path) -> list[str]:
    """The tags of releases, the oldest first."""
    return git(repository, "tag", "--list", "v*", "--sort=version:refname").split()


def version(repository: Path) -> str:
    """What the working tree's VERSION says."""
    return (repository / VERSION_FILE).read_text(encoding="utf-8").strip()


def next_tag(repository: Path) -> str:
    """The tag of the working tree as the next release: its version's, or one above all where that is released."""
    own = version(repository)
    return "v99999" if any(numbers(tag) >= numbers(own) for tag in releases(repository)) else f"v{own}"


def numbers(version: str) -> tuple[int, ...]:
    """What versions and tags are compared by."""
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
