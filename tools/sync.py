"""Render every reference model from the template again: `make sync`.

    python tools/sync.py            write what differs
    python tools/sync.py --check    write nothing; exit with 1 and name what differs

A reference model is a rendered repository whose components are the template's source. Those therefore render to
themselves; what changes here are the files that live in template/. Nothing is ever deleted: a file that the template
does not render is named, and someone decides.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from xlm_runtime.errors import XlmError
from xlm_runtime.scaffold import ANSWERS_FILE, render, template_source

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "reference-models"
#: What work in a repository leaves behind, and no repository keeps.
LEFTOVERS = ("__pycache__", "build", "dist", "runs", ".git", ".venv")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if something differs")
    check = parser.parse_args().check
    differing = 0
    with template_source() as source, tempfile.TemporaryDirectory(prefix="xlm-sync-") as rendered:
        for point in starting_points():
            try:
                render(source, Path(rendered) / point, answers_of(point))
            except (XlmError, OSError) as error:  # a file of the starting point that is listed, and missing
                print(f"reference-models/{point} cannot be rendered: {error}", file=sys.stderr)
                return 2
            differing += sync(Path(rendered) / point, MODELS / point, check)
    if not differing:
        print("reference-models is what the template renders.")
    return 1 if differing and check else 0


def starting_points() -> list[str]:
    """Those that copier.yml offers, and any other rendered repository of reference-models."""
    questions = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
    offered = questions["starting_point"]["choices"].values()
    return sorted({*offered, *(file.parent.name for file in MODELS.glob(f"*/{ANSWERS_FILE}"))})


def answers_of(point: str) -> dict[str, Any]:
    """What is recorded, if anything; the name and the starting point are the directory's."""
    file = MODELS / point / ANSWERS_FILE
    recorded = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    answers = {key: value for key, value in recorded.items() if not key.startswith("_")}
    return {**answers, "model_name": point, "starting_point": point}


def sync(rendered: Path, model: Path, check: bool) -> int:
    """Make ``model`` equal to ``rendered``, or only say where it is not; returns how many files differ."""
    wanted, present = set(files_of(rendered)), set(files_of(model))
    for file in sorted(wanted):
        if file in present and same(rendered / file, model / file):
            wanted.discard(file)
        elif check:
            print(f"{'differs' if file in present else 'missing'}: {(model / file).relative_to(ROOT)}")
        else:
            (model / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(rendered / file, model / file)
            print(f"written: {(model / file).relative_to(ROOT)}")
    strangers = sorted(present - set(files_of(rendered)))
    for file in strangers:
        print(f"not rendered: {(model / file).relative_to(ROOT)}: list it in copier.yml, or delete it")
    return len(wanted) + len(strangers)


def files_of(directory: Path) -> Iterator[Path]:
    """The files of a repository, relative to it."""
    for file in directory.rglob("*"):
        path = file.relative_to(directory)
        left_over = any(part in LEFTOVERS or part.endswith((".egg-info", "_cache")) for part in path.parts)
        if file.is_file() and not left_over:
            yield path


def same(first: Path, second: Path) -> bool:
    """Whether two files have one content, and are both executable or both not."""
    executable = [bool(file.stat().st_mode & 0o111) for file in (first, second)]
    return executable[0] == executable[1] and first.read_bytes() == second.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
