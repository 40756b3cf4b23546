"""The reference models are importable and discovered, installed or not, whatever the current directory is."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from golden import MODELS

# Here, because the test files import the models' packages. What is installed goes first.
sys.path += [str(file.parent) for file in sorted(MODELS.glob("*/configs")) if str(file.parent) not in sys.path]


@pytest.fixture(scope="session", autouse=True)
def registered() -> Iterator[None]:
    """Composition finds what the directory registers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLM_MODELS_PATH", str(MODELS))
        yield
