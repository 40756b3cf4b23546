from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the datasets of a file of tests are kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """The directory of a run, not there yet."""
    return tmp_path / "run"
