"""The working tree as a release of a git repository: what Copier takes a template from."""

import re
import shutil
import subprocess
from pathlib import Path

VERSION_FILE = Path("runtime/xlm_runtime/VERSION")
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


def clone(source: Path, target: Path) -> None:
    """A clone with all tags, whose working tree is the source's, new and uncommitted files included."""
    git(target.parent, "clone", "--quiet", "--no-hardlinks", str(source), str(target))
    lay(source, target)


def lay(source: Path, target: Path) -> None:
    """Replace all files of ``target`` by those of the working tree of the git repository ``source``."""
    for path in target.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in git(source, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
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
