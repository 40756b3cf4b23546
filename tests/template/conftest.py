import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rendering
import warm
from releases import OLDEST, two_releases
from rendering import succeed
from snapshot import git, release

from xlm_runtime.scaffold import render, template_source


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory, server: str, copier_server: str) -> Path:
    """A directory with a ``python`` whose tests and commands, and a ``copier``, that import no library anew each time."""
    directory = tmp_path_factory.mktemp("programs")
    warm.install_python(directory / "python", Path(sys.executable), server)
    warm.install(directory / "copier", Path(sys.executable), copier_server, "copier")
    return directory


@pytest.fixture(scope="session", autouse=True)
def copier(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every ``copier`` that a test or a script calls is that of ``programs``."""
    directory = tmp_path_factory.mktemp("copier")
    (directory / "copier").symlink_to(programs / "copier")
    rendering.FIRST.append(str(directory))


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """The template as the working tree has it, outside of git: Copier would take the latest tag."""
    with template_source() as source:
        yield source


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a git repository with the releases OLDEST and OLD."""
    checkout = tmp_path_factory.mktemp("published") / "xlm-template"
    two_releases(checkout)
    return checkout


@pytest.fixture(scope="session")
def begun(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the older of the two releases, in git."""
    directory = tmp_path_factory.mktemp("begun")
    words = ["--quiet", "--defaults", "--vcs-ref", OLDEST, "-d", "model_name=my_model", str(published), "my_model"]
    succeed(["copier", "copy", *words], directory)
    git(directory / "my_model", "init", "--quiet", "--initial-branch", "main")
    release(directory / "my_model", "made")
    return directory / "my_model"


@pytest.fixture
def project(begun: Path, tmp_path: Path) -> Path:
    """A copy of it, to be worked on."""
    return Path(shutil.copytree(begun, tmp_path / "my_model"))


@pytest.fixture
def make(template: Path, tmp_path: Path) -> Callable[..., Path]:
    """``make("my_model", starting_point="arlm")``: a fresh repository of that name."""

    def make(name: str, **answers: object) -> Path:
        render(template, tmp_path / name, {"model_name": name, **answers})
        return tmp_path / name

    return make
