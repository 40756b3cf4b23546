"""Make a release: `make release VERSION=0.2.0`.

VERSION and CHANGELOG.md get the new version, the reference models follow, `make check` and the upgrade matrix pass, and
then a commit is made with the tag vX.Y.Z on it. Nothing is pushed. Where anything fails, every file is as it was.
"""

import argparse
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from snapshot import VERSION_FILE, git, numbers, releases

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = Path("CHANGELOG.md")
UNRELEASED = "## Unreleased\n"
CHECKS = (
    ["scripts/check"],
    [
        "scripts/test",
        "tests/template/test_upgrades.py",
        "tests/template/test_guard.py",
        "tests/template/test_updates.py",
    ],
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="X.Y.Z, above every release")
    parser.add_argument("--repository", type=Path, default=ROOT, help=argparse.SUPPRESS)
    parser.add_argument("--no-checks", action="store_true", help=argparse.SUPPRESS)  # its own tests
    options = parser.parse_args()
    repository, version = options.repository, options.version
    if fault := what_is_wrong(repository, version):
        print(f"make release: {fault}", file=sys.stderr)
        return 2
    before = git(repository, "rev-parse", "HEAD").strip()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        write_version(repository, version)
        run([sys.executable, "tools/sync.py"], repository)
        for command in [] if options.no_checks else CHECKS:
            run(command, repository)
        # By the maintainer's own name and signature: without any settings of ours.
        run(["git", "add", "--all"], repository)
        run(["git", "commit", "--quiet", "--message", f"Release {version}"], repository)
        run(["git", "tag", "--annotate", "--message", f"Release {version}", f"v{version}"], repository)
    except BaseException as error:
        git(repository, "reset", "--quiet", "--hard", before)
        git(repository, "clean", "--quiet", "--force", "--", "reference-models")
        if not isinstance(error, subprocess.CalledProcessError):
            raise
        print(f"make release: {' '.join(error.cmd)} failed; nothing has changed", file=sys.stderr)
        return 1
    print(f"v{version} is tagged. Look at it, then: git push --follow-tags")
    return 0


def what_is_wrong(repository: Path, version: str) -> str:
    """Why no release of this version can be made now; empty if it can."""
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version):
        return f"'{version}' is no version; expected three numbers without leading zeros: make release VERSION=0.2.0"
    if changed := git(repository, "status", "--porcelain"):
        return f"there are open changes; commit them first:\n{changed.rstrip()}"
    tags = releases(repository)
    if any(numbers(tag) >= numbers(version) for tag in tags):
        return f"{version} is not above the last release, {tags[-1]}"
    section = (repository / CHANGELOG).read_text(encoding="utf-8").partition(UNRELEASED)[2]
    if not re.split(r"(?m)^## ", section)[0].strip():
        return f"{CHANGELOG} says nothing under '{UNRELEASED.strip()}': what does this release bring?"
    return ""


def write_version(repository: Path, version: str) -> None:
    (repository / VERSION_FILE).write_text(f"{version}\n", encoding="utf-8")
    file = repository / CHANGELOG
    heading = f"{UNRELEASED}\n## {version} ({datetime.now(UTC):%Y-%m-%d})\n"
    file.write_text(file.read_text(encoding="utf-8").replace(UNRELEASED, heading, 1), encoding="utf-8")


def run(command: list[str], cwd: Path) -> None:
    print("+", " ".join(command), flush=True)
    subprocess.run(command, cwd=cwd, check=True)


if __name__ == "__main__":
    sys.exit(main())
