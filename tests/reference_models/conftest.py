"""The reference models are importable and discovered, installed or not, whatever the current directory is."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from golden import MODELS
from trained_runs import train_all

from xlm_runtime.cli import main

# Here, because the test files import the models' packages. What is installed goes first.
sys.path += [str(file.parent) for file in sorted(MODELS.glob("*/configs")) if str(file.parent) not in sys.path]


@pytest.fixture(scope="session", autouse=True)
def registered() -> Iterator[None]:
    """Composition finds what the directory registers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLM_MODELS_PATH", str(MODELS))
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the datasets of a file of tests are kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_all(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def runs(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory ``runs`` with text_<model> and star_<model>, this test file's own."""
    return Path(shutil.copytree(trained_once, tmp_path_factory.mktemp("work") / "runs"))


@pytest.fixture
def xlm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """``xlm(*words)`` on a CPU, in this process: exit code, output, errors."""
    for name in ("XLM_TRACEBACK", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XLM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # the same on every machine
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = 0
        try:
            main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        return code, *capsys.readouterr()

    return run
