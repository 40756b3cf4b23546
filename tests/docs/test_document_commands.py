"""Every command of every document runs, in the order of its page, on a fresh machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from documents import ROOT, blocks, page_name, pages
from fresh_machine import Machine, publish_template, without_models
from page_runner import check, run_page

#: Only these may be left out of a run, with a reason on the page.
SHELLS = {"sh", "shell", "console", "zsh", "shellsession"}


def with_commands() -> list[Path]:
    return [page for page in pages() if any(block.kind == "run" for block in blocks(page))]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_template(tmp_path_factory.mktemp("published") / "xlm-template")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return without_models(tmp_path_factory.mktemp("installed") / "packages")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("page", with_commands(), ids=page_name)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path, template: Path, installed: Path, cache: Path) -> None:
    for block, printed in run_page(page, Machine(tmp_path, template, installed, cache)):
        check(page, block, printed)


@pytest.mark.parametrize("page", pages(), ids=page_name)
def test_no_command_escapes(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "\n    ```bash" not in text and "\n  ```bash" not in text, (
        "an indented fence is not run: begin the line with it"
    )
    for block in blocks(page):
        assert block.language not in SHELLS, f"line {block.line}: write ```bash, so that it is run"
        if "skip" in block.settings:
            assert block.settings.get("reason"), f"line {block.line}: say why it cannot be run"


def test_a_command_that_is_only_rehearsed_is_run_by_the_gate() -> None:
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for page in pages():
        for block in blocks(page):
            if block.settings.get("env") == "MAKEFLAGS=-n":
                targets = {line.strip() for line in block.text.splitlines() if line.startswith("make ")}
                rehearsed = targets - set(gate.splitlines())
                assert rehearsed <= {"make bench", "make sync", "make format"}, f"{page_name(page)}, line {block.line}"
