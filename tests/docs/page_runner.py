"""Runs a page: writes its files, runs its commands in order, compares what they print with what the page shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from documents import Block, blocks, difference, page_name
from fresh_machine import Machine, Printed


def run_page(page: Path, machine: Machine) -> Iterator[tuple[Block, Printed]]:
    """Each output block, with what the commands before it printed.

    Raises:
        AssertionError: a command ended otherwise than the page says.
    """
    printed: Printed | None = None
    for block in blocks(page):
        place = f"{page_name(page)}, line {block.line}"
        if block.kind == "file":
            machine.write(block)
        elif block.kind == "run" and "skip" not in block.settings:
            printed = machine.run(block)
            wanted = int(block.settings.get("exit", 0))
            assert printed.status == wanted, (
                f"{place}: exit status {printed.status}, not {wanted}\n{block.text}\n{printed.output}"
            )
        elif block.kind == "output":
            assert printed is not None, f"{place}: there is no command before it"
            yield block, printed


def check(page: Path, block: Block, printed: Printed) -> None:
    """Compare what the page shows with what was printed."""
    vary = block.detail == "numbers vary"
    fault = difference(block.text, printed.output, numbers_vary=vary)
    assert fault is None, (
        f"{page_name(page)}, line {block.line}: the page shows\n{fault}\n--- but printed was\n{printed.output}"
        f"\n(python tests/docs/rewrite_outputs.py {page_name(page)} writes what was printed into the page)"
    )
