from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from documents import blocks
from fresh_machine import Machine, publish_template, without_models
from hub_server import hub_server
from page_runner import check, run_page


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_template(tmp_path_factory.mktemp("published") / "xlm-template")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return without_models(tmp_path_factory.mktemp("installed") / "packages")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(
    tmp_path: Path, template: Path, installed: Path, cache: Path, server: str, copier_server: str
) -> Iterator[Callable[[Path], None]]:
    """``run(page)``: all of its commands, in their order, on a fresh machine."""

    with hub_server("hf_...") as hub:

        def run(page: Path) -> None:
            machine = Machine(tmp_path, template, installed, cache, server, copier_server, hub.address)
            compared = [check(page, block, printed) for block, printed in run_page(page, machine)]
            assert len(compared) == sum(block.kind == "output" for block in blocks(page))

        yield run
