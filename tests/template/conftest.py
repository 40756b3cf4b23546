from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xlm_runtime.scaffold import render, template_source


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """The template as the working tree has it, outside of git: Copier would take the latest tag."""
    with template_source() as source:
        yield source


@pytest.fixture
def make(template: Path, tmp_path: Path) -> Callable[..., Path]:
    """``make("my_model", starting_point="arlm")``: a fresh repository of that name."""

    def make(name: str, **answers: object) -> Path:
        render(template, tmp_path / name, {"model_name": name, **answers})
        return tmp_path / name

    return make
