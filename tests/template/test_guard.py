"""The guard of `make check`: no release takes a file away together with what its user has written there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from releases import COPIER_YML, insert_before, replace
from rendering import ROOT, run
from snapshot import TEMPLATE, clone, release

SINCE = "v0.0.9"
MOVE = """\
_migrations:
  - version: v0.1.0
    when: "{{ _stage == 'before' }}"
    command: "test ! -e scripts/check || { mkdir -p $(dirname scripts/verify); git mv scripts/check scripts/verify \
      || git mv scripts/check scripts/check.mine; }"

"""


def rename(checkout: Path) -> None:
    (checkout / "template/scripts/check").rename(checkout / "template/scripts/verify")


def rename_with_a_migration(checkout: Path) -> None:
    rename(checkout)
    insert_before(checkout / COPIER_YML, r"(?m)^_message_after_copy", MOVE)


def rename_with_a_migration_of_another_version(checkout: Path) -> None:
    rename_with_a_migration(checkout)
    replace(checkout / COPIER_YML, MOVE, MOVE.replace("v0.1.0", "v999999.0.0"))


def remove_and_say_so(checkout: Path) -> None:
    (checkout / "template/.pre-commit-config.yaml").unlink()
    entry = """  - '{% if _copier_operation == "update" %}/.pre-commit-config.yaml{% endif %}'\n"""
    insert_before(checkout / COPIER_YML, r"(?m)^  - __pycache__", entry)


def drop_a_seed(checkout: Path) -> None:
    replace(checkout / COPIER_YML, "        - experiment/star_easy_reversed_NAME\n", "")


def make_a_seed_of_what_is_managed(checkout: Path) -> None:
    replace(checkout / COPIER_YML, "    - /README.md\n", "    - /setup.py\n")


def rename_and_drop_what_begins_another_name(checkout: Path) -> None:
    rename(checkout)
    (checkout / "template/notes").unlink()


CASES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "renamed": (
        rename_and_drop_what_begins_another_name,
        ["scripts/check (arlm, follow_starting_point false)", "notes (arlm, follow_starting_point false)"],
    ),
    "renamed_with_a_migration": (rename_with_a_migration, []),
    "renamed_for_another_version": (rename_with_a_migration_of_another_version, ["scripts/check (arlm, follow"]),
    "dropped": (remove_and_say_so, []),
    "now_a_seed": (make_a_seed_of_what_is_managed, ["setup.py (arlm, follow_starting_point false)"]),
    "seed": (drop_a_seed, ["star_easy_reversed_guarded_model.yaml (arlm, follow_starting_point true)"]),
}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree, released, with two files the name of one of which begins the other's."""
    checkout = tmp_path_factory.mktemp("guard") / "xlm-template"
    clone(ROOT, checkout, TEMPLATE)
    for name in ("notes", "notes.md"):
        (checkout / "template" / name).write_text("theirs\n", encoding="utf-8")
    release(checkout, SINCE)
    return checkout


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_is_gone_must_leave_its_edits_somewhere(released: Path, tmp_path: Path, case: str) -> None:
    change, lost = CASES[case]
    checkout = tmp_path / "xlm-template"
    clone(released, checkout)
    change(checkout)
    words = [sys.executable, str(ROOT / "tools/guard.py"), "--since", SINCE, "--repository", str(checkout)]
    done = run([*words, "--points", "arlm"], tmp_path)
    if not lost:
        assert (done.returncode, done.stdout) == (0, f"guard: an update from {SINCE} loses no edit\n"), done.stderr
        return
    assert done.returncode == 1
    for text in (*lost, "_migrations:", "_exclude:"):
        assert text in done.stderr
    assert ("follow_starting_point false)" in done.stderr) is (case != "seed")  # a seed that is not followed stays


def test_a_starting_point_that_is_gone_is_told_with_its_own_remedy(released: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "xlm-template"
    clone(released, checkout)
    insert_before(checkout / COPIER_YML, r'(?m)^    "mdlm: masked', "    # ")
    words = [sys.executable, str(ROOT / "tools/guard.py"), "--since", SINCE, "--repository", str(checkout)]
    done = run(words, tmp_path)
    assert done.returncode == 1 and "no starting point mdlm any more" in done.stderr, done.stderr
    assert "_migrations" not in done.stderr


def test_a_release_that_is_none_is_told(released: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "tools/guard.py"), "--since", "v7", "--repository", str(released)]
    done = run(words, tmp_path)
    assert done.returncode == 2
    assert "there is no tag v7" in done.stderr and SINCE in done.stderr
