from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_repositories import make_model, write_registry


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the datasets of a file of tests are kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """The directory of a run, not there yet."""
    return tmp_path / "run"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A file of 600 documents."""
    from text_corpus import TEXTS, write  # here: most files of tests do without

    return write(tmp_path / "corpus.jsonl", TEXTS)


@pytest.fixture
def make_star(tmp_path: Path) -> Any:
    """Makes star graphs: ``star_graphs.maker``, with a cache of the test's own."""
    from star_graphs import maker  # here: most files of tests do without

    return maker(tmp_path / "cache")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configs of a model of one's own, found before those of the repository."""
    root = make_model(tmp_path / "own", "own")
    write_registry(tmp_path, {"own": "own"})
    monkeypatch.chdir(tmp_path)
    return root / "configs"


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """An empty current directory, for what is found from it; nothing changes into it."""
    directory = tmp_path / "work"
    directory.mkdir()
    return directory


@pytest.fixture
def nothing_installed() -> Iterator[None]:
    """Models that happen to be installed beside the runtime do not count here."""
    # In place: pytest's syspath_prepend, undone after this, puts back what it found in the same list.
    before = sys.path[:]
    sys.path[:] = [place for place in before if not place.endswith("site-packages")]
    yield
    sys.path[:] = before
