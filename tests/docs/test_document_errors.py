"""Every message of the troubleshooting page is what the command prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from documents import ROOT, blocks

PAGE = ROOT / "docs" / "troubleshooting.md"


def test_every_message_is_printed_as_it_is_shown(run: Callable[[Path], None]) -> None:
    run(PAGE)


def test_every_message_is_compared() -> None:
    shown = [block.line for block in blocks(PAGE) if block.kind == "shown"]
    assert not shown, "put <!-- output --> before the fence"
