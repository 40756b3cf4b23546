"""Does an update from the last release lose an edit? `make check` asks.

    python tools/guard.py                        against the last tag v*
    python tools/guard.py --since v0.3.0

A file that the template no longer renders, because it was removed or renamed, or because it is a seed from now on,
takes its edits along: Copier deletes it, whatever its user has written there. So in a project of the last release every
file is edited, the project is updated to the working tree, and the edits are looked for. Each must be found: in its
place, in a new one by a migration, or between the marks of a conflict.

The working tree is taken for the release that its VERSION names, where there is none yet; so a migration for another
version is of no use to `make release`. Earlier releases than the last are the upgrade matrix's business.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from snapshot import TEMPLATE, clone, git, next_tag, release, releases

from xlm_runtime.scaffold import ANSWERS_FILE

ROOT = Path(__file__).resolve().parents[1]
NAME = "guarded_model"
EDIT = "edited by its user"
REMEDY = """\
An update would delete these files together with what their users have written there:
{files}
If the template has the file at another place now, let a migration move it, in copier.yml:

    _migrations:
      - version: <the version of the next release>
        when: "{{{{ _stage == 'before' }}}}"
        command: "test ! -e OLD || {{ mkdir -p $(dirname NEW); git mv OLD NEW || git mv OLD OLD.mine; }}"

(OLD.mine is for who has a file NEW already.) Change no line of it in the same release: an edited one would become a
conflict. It still becomes one for who skips a release in which a line of it changed, before the move or after it: the
update that has the move compares with the release that was left. That update needs `--trust`; say so in CHANGELOG.md.

If there is no such file any more, exclude it on update, in copier.yml: it stays where it is, as the user's own.

    _exclude:
      - '{{% if _copier_operation == "update" %}}/OLD{{% endif %}}'"""

DROPPED = """\
The template has no starting point {points} any more, and {since} had: what began there could not be updated at all,
for a recorded answer must be among the choices. Keep it in copier.yml (`starting_point`, `points`) and in
reference-models/, and say in its choice that it is kept for those who have it."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--since", metavar="TAG", help="the release to update from (default: the last one)")
    parser.add_argument("--repository", type=Path, default=ROOT, help=argparse.SUPPRESS)
    parser.add_argument("--points", nargs="*", metavar="POINT", help="starting points (default: all)")
    options = parser.parse_args()
    tags = releases(options.repository)
    since = options.since or (tags[-1] if tags else None)
    if since is None:
        print("guard: no release yet, nothing can be lost")
        return 0
    if since not in tags:
        print(f"guard: there is no tag {since}; releases: {', '.join(tags) or 'none'}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="xlm-guard-") as directory:
        checkout = Path(directory) / "xlm-template"
        clone(options.repository, checkout, TEMPLATE)
        tag = next_tag(options.repository)
        release(checkout, tag)
        chosen = options.points or points(checkout, since)
        if dropped := [point for point in chosen if point not in points(checkout, tag)]:
            print(DROPPED.format(points=", ".join(dropped), since=since), file=sys.stderr)
            return 1
        lost = [loss for point in chosen for loss in losses(checkout, since, tag, point, Path(directory))]
    if lost:
        print(REMEDY.format(files="".join(f"  {file}\n" for file in lost)), file=sys.stderr)
        return 1
    print(f"guard: an update from {since} loses no edit")
    return 0


def points(checkout: Path, since: str) -> list[str]:
    """The starting points of a release."""
    questions = yaml.safe_load(git(checkout, "show", f"{since}:copier.yml"))
    return list(questions["starting_point"]["choices"].values())


def losses(checkout: Path, since: str, tag: str, point: str, directory: Path) -> list[str]:
    """The files of one starting point whose edits an update loses, each with the starting point in words."""
    lost = []
    for follow in ("false", "true"):
        place = directory / f"{point}-{follow}"
        place.mkdir()
        answers = [f"model_name={NAME}", f"starting_point={point}", f"follow_starting_point={follow}"]
        words = [word for answer in answers for word in ("-d", answer)]
        copier(["copy", "--trust", "--vcs-ref", since, *words, str(checkout), "project"], place)
        project = place / "project"
        edited = [file for file in files(project) if file != ANSWERS_FILE]
        for file in edited:
            with (project / file).open("a", encoding="utf-8") as stream:
                stream.write(f"\n# {EDIT}: {file}\n")
        git(project, "init", "--quiet")
        release(project, "edited")
        copier(["update", "--trust", "--vcs-ref", tag], project)
        kept = "\n".join((project / file).read_text(encoding="utf-8", errors="replace") for file in files(project))
        lost += [
            f"{file} ({point}, follow_starting_point {follow})" for file in edited if f"{EDIT}: {file}\n" not in kept
        ]
    return lost


def copier(words: list[str], cwd: Path) -> None:
    command = ["copier", words[0], "--quiet", "--defaults", *words[1:]]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"guard: {' '.join(command)} in {cwd} failed:\n{done.stderr}")


def files(directory: Path) -> list[str]:
    paths = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if path.parts[0] != ".git")


if __name__ == "__main__":
    sys.exit(main())
