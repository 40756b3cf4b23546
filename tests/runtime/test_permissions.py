"""Repositories of which a part may not be read: an error says which, and not that it is missing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from model_repositories import make_model, write_registry

from xlm_runtime.config import compose
from xlm_runtime.discovery import discover
from xlm_runtime.errors import ConfigError, ModelLayoutError, RegistryError

pytestmark = pytest.mark.usefixtures("nothing_installed")
NOBODY = 65534


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may read everything, and becomes somebody else for a while."""
    root = os.geteuid() == 0
    if root:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a model in it, which everybody may enter: pytest's own are for their owner alone."""
    directory = Path(tempfile.mkdtemp(dir="/tmp" if os.geteuid() == 0 else None))  # not where root alone may go
    directory.chmod(0o755)
    make_model(directory / "own", "own", experiments=["star_easy_own"])
    write_registry(directory, {"own": "own"})
    monkeypatch.chdir(directory)
    compose(["seed=1"])  # what it imports, before rights are given up
    yield directory
    monkeypatch.undo()
    for path in directory.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(directory)


@pytest.mark.parametrize("part", [".", "own", "configs"])
def test_a_directory_of_a_model(place: Path, part: str) -> None:
    directory = place / "own" / part
    directory.chmod(0)
    try:
        with without_rights(), pytest.raises(ModelLayoutError) as caught:
            discover()
    finally:
        directory.chmod(0o755)
    assert str(caught.value).startswith(f"{place / 'xlm_models.json'}, line 2: {directory} cannot be read")
    assert f"chmod u+rx {directory}" in str(caught.value)


def test_the_way_to_a_model(place: Path) -> None:
    (place / "closed").mkdir()
    (place / "own").rename(place / "closed" / "own")
    write_registry(place, {"own": "closed/own"})
    (place / "closed").chmod(0)
    try:
        with without_rights(), pytest.raises(RegistryError, match="own cannot be reached: Permission denied"):
            discover()
    finally:
        (place / "closed").chmod(0o755)


def test_the_experiments_of_a_model(place: Path) -> None:
    directory = place / "own" / "configs" / "experiment"
    directory.chmod(0)
    try:
        with without_rights():
            with pytest.raises(ModelLayoutError, match=f"{directory} cannot be read"):
                discover().models["own"].experiments()
            with pytest.raises(ModelLayoutError, match=f"{directory} cannot be read"):
                compose(["experiment=star_easy_own"])
    finally:
        directory.chmod(0o755)


def test_a_file_of_a_model(place: Path) -> None:
    file = place / "own" / "configs" / "experiment" / "star_easy_own.yaml"
    file.chmod(0)
    with without_rights(), pytest.raises(ConfigError, match=f"{file} cannot be read: Permission denied"):
        compose(["experiment=star_easy_own"])
