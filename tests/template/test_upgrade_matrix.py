"""The matrix itself: it notices a template that loses something, and accepts whatever a release may do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from releases import COPIER_YML, OLD, make_old, replace
from rendering import ROOT
from snapshot import TEMPLATE, clone, lay, next_tag, release
from test_guard import (
    remove_and_say_so,
    rename,
    rename_with_a_migration,
    rename_with_a_migration_of_another_version,
)
from upgrades import Template, check_upgrade


@pytest.fixture(scope="module")
def old_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OLD, and upon it the working tree, not yet released."""
    checkout = tmp_path_factory.mktemp("old") / "xlm-template"
    clone(ROOT, checkout, TEMPLATE)
    make_old(checkout)
    release(checkout, OLD)
    lay(ROOT, checkout, TEMPLATE)
    return checkout


def upgrade(old_release: Path, change: Callable[[Path], None], place: Path) -> None:
    checkout = place / "xlm-template"
    clone(old_release, checkout)
    change(checkout)
    current = next_tag(checkout)
    release(checkout, current)
    check_upgrade(Template(checkout, current), OLD, current, "skeleton", False, place)


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
    """As when the entry that left it to its user goes, a release after the file."""
    (template / "template/.pre-commit-config.yaml").unlink()


BROKEN = [
    merge_seeds_too,
    leave_the_pin_behind,
    render_where_the_template_was,
    remove_a_managed_file,
    rename,
    rename_with_a_migration_of_another_version,
]


@pytest.mark.parametrize("change", BROKEN, ids=lambda change: change.__name__)
def test_a_broken_template_is_noticed(
    old_release: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    with pytest.raises(AssertionError):
        upgrade(old_release, change, tmp_path)


def move_drop_and_change_last_lines(template: Path) -> None:
    rename_with_a_migration(template)
    remove_and_say_so(template)
    with (template / "template/setup.py.jinja").open("a", encoding="utf-8") as stream:
        stream.write("# the end\n")
    replace(template / "template/scripts/verify", 'pytest "$@"\n', 'pytest --quiet "$@"\n')


def test_what_a_release_may_do_is_accepted(old_release: Path, tmp_path: Path) -> None:
    upgrade(old_release, move_drop_and_change_last_lines, tmp_path)
