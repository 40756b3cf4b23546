"""The upgrade matrix: from every release, for every starting point, an update loses nothing and brings everything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from releases import NEXT, OLD, OLDEST, earlier, repository
from rendering import STARTING_POINTS, files_of
from upgrades import NAME, Template, check_upgrade, is_seed


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    checkout = tmp_path_factory.mktemp("releases") / "xlm-template"
    return Template(checkout, repository(checkout))


@pytest.mark.parametrize("point", STARTING_POINTS)
def test_an_update_from_every_earlier_release(template: Template, tmp_path: Path, point: str) -> None:
    """Seeds are followed from one release and left alone from the next, the other way about for the next point. Of the
    invented releases, the oldest has a seed that is dropped later, which no one who follows may be given.
    """
    releases = earlier(template.checkout, template.current)
    assert {OLDEST, OLD} <= set(releases)
    for place, old in enumerate(releases):
        follow = old == OLD or (old != OLDEST and (place + STARTING_POINTS.index(point)) % 2 == 0)
        (tmp_path / old).mkdir()
        check_upgrade(template, old, template.current, point, follow, tmp_path / old, again=old == OLDEST)


@pytest.mark.parametrize("point", STARTING_POINTS)
def test_an_update_to_the_release_after_this_one(template: Template, tmp_path: Path, point: str) -> None:
    check_upgrade(template, template.current, NEXT, point, point == "skeleton", tmp_path)


def test_the_releases_differ_in_every_class_of_file(template: Template) -> None:
    """A matrix between equal releases would prove nothing."""
    old, new = (files_of(template.copy(tag, "arlm", True)) for tag in (OLDEST, template.current))
    changed = {path for path in old.keys() & new.keys() if old[path] != new[path]}
    assert {f"{NAME}/loss_{NAME}.py", "README.md", "setup.py", "requirements/xlm.txt"} <= changed
    assert f"configs/collator/lm_{NAME}.yaml" in changed
    assert old.keys() - new.keys() == {f"configs/experiment/gone_{NAME}.yaml"}
    (added,) = new.keys() - old.keys()
    assert not is_seed(added)
    assert os.access(template.copy(template.current, "arlm", True) / "scripts/check", os.X_OK)
