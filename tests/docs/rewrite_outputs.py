"""Runs pages and writes what was printed into their output blocks: ``python tests/docs/rewrite_outputs.py PAGE ...``

A block with a line ``…`` shows a part only, and is left as it is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))

from documents import Block, difference
from fresh_machine import Machine, Printed, publish_template, without_models
from hub_server import hub_server
from page_runner import run_page
from warm import COPIER, serve


def main(pages: list[Path]) -> None:
    """Rewrite each page in place."""
    with (
        tempfile.TemporaryDirectory() as directory,
        serve() as server,
        serve(COPIER) as copier,
        hub_server("hf_...") as hub,
    ):
        place = Path(directory)
        template, installed = publish_template(place / "template"), without_models(place / "installed")
        for number, page in enumerate(pages):
            machine = Machine(place / str(number), template, installed, place / "cache", server, copier, hub.address)
            results = list(run_page(page, machine))
            print(f"{page}: {_rewrite(page, results)} of {len(results)} blocks rewritten")


def _rewrite(page: Path, results: list[tuple[Block, Printed]]) -> int:
    lines = page.read_text(encoding="utf-8").splitlines()
    count = 0
    for block, printed in reversed(results):
        if difference(block.text, printed.output, numbers_vary=block.detail == "numbers vary") is None:
            continue
        if any(line.strip() == "…" for line in block.text.splitlines()):
            print(f"{page}, line {block.line}: differs, but shows a part only; printed was:\n{printed.output}")
            continue
        start, end = block.span
        lines[start:end] = [line.rstrip() for line in printed.output.strip("\n").split("\n")]
        count += 1
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return count


if __name__ == "__main__":
    main([Path(word).resolve() for word in sys.argv[1:]])
