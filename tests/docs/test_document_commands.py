"""Every command of every document runs, in the order of its page, on a fresh machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from documents import ROOT, blocks, page_name, pages

TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"  # has a file of tests of its own: it takes long
SHELLS = {"sh", "shell", "console", "zsh", "shellsession"}


def with_commands() -> list[Path]:
    return [page for page in pages() if page != TROUBLESHOOTING and any(block.kind == "run" for block in blocks(page))]


@pytest.mark.parametrize("page", with_commands(), ids=page_name)
def test_the_commands_of_a_page_run(page: Path, run: Callable[[Path], None]) -> None:
    run(page)


@pytest.mark.parametrize("page", pages(), ids=page_name)
def test_no_command_escapes(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "\n    ```bash" not in text and "\n  ```bash" not in text, "an indented fence is not run"
    for block in blocks(page):
        assert block.language not in SHELLS, f"line {block.line}: write ```bash, so that it is run"
        if "skip" in block.settings:
            assert block.settings.get("reason"), f"line {block.line}: say why it cannot be run"


def test_a_command_that_is_only_rehearsed_is_run_by_the_gate() -> None:
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    for page in pages():
        for block in blocks(page):
            if block.settings.get("env") == "MAKEFLAGS=-n":
                assert set(block.text.splitlines()) <= set(gate), f"{page_name(page)}, line {block.line}"
