"""The command line as a user has it: in a directory of its own, with an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm
from outcomes import Outcome, Run
from tiny_models import make_model, register

#: What decides which models are found, and what a run writes where.
VARIABLES = ("XLM_MODELS_PATH", "XLM_MODELS_PACKAGES", "XLM_TRACEBACK", "XLM_CACHE_DIR", "HYDRA_FULL_ERROR")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory of the test, empty."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XLM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # the same on every machine
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def project(home: Path) -> Path:
    """The current directory with one tiny model: ``my_model``, nested layout, registered."""
    make_model(home / "my_model")
    register(home, {"my_model": "my_model"})
    return home


@pytest.fixture
def xlm(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """``xlm(*words)`` in this process, which has imported torch already. Keywords are environment variables."""
    path, modules, environment = list(sys.path), set(sys.modules), dict(os.environ)

    def run(*words: str, **variables: str) -> Outcome:
        from xlm_runtime.cli import main

        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = 0
        try:
            main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        except Exception:  # Python's own way with what nothing has caught
            traceback.print_exc()
            code = 1
        forget()  # the next command, a process of its own, would import the model afresh
        return Outcome(code, *capsys.readouterr())

    def forget() -> None:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(str(home)):
                del sys.modules[name]

    yield run
    forget()
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory, server: str) -> Path:
    """A directory with an ``xlm``, a ``torchrun`` and a ``python`` that import no library anew each time."""
    directory, own = tmp_path_factory.mktemp("bin"), Path(sys.executable)
    python = directory / "python"  # also what the others start further processes by
    warm.install_python(python, own, server)
    warm.install(directory / "xlm", own, server, executable=python)
    warm.install(directory / "torchrun", own, server, "torch.distributed.run", python)
    return directory


@pytest.fixture(scope="session")
def program(programs: Path) -> str:
    """``xlm`` as a program of its own."""
    return str(programs / "xlm")


@pytest.fixture
def xlm_process(home: Path, program: str) -> Run:
    """``xlm(*words)`` as a process of its own. Keywords are environment variables."""

    def run(*words: str, **variables: str) -> Outcome:
        done = subprocess.run(
            [program, *words],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run
