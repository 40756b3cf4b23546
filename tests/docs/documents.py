"""The documents as tests see them: pages, and in each page the blocks that mean something.

A fence is what its first line says, and an HTML comment in front of it says more; readers do not see that:

    ```python title="my_model/x.py"    a file: it is written, relative to where the page's shell stands
    ```bash                            commands: they are run
    <!-- run: exit=2 -->               … the last of them ends with this status
    <!-- run: env=MAKEFLAGS=-n -->     … with a variable set
    <!-- run: skip reason=... -->      … they are not run; only where they cannot be
    <!-- output -->                    the fence is what the last command printed; a line ``…`` stands for any lines,
                                       ``…`` within a line for any text
    <!-- output: numbers vary -->      … and a number for any number
    <!-- hidden                        commands that are run and not shown, up to the end of the comment
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r'^(`{3,})(\w*|\{\.\w+\})(?: title="([^"`]+)")?$')
_MARK = re.compile(r"^<!-- (run|output)(?:: (.*?))? -->$")
_HIDDEN = re.compile(r"^<!-- hidden\b(?:: (.*))?$")


@dataclass
class Block:
    """One block of a page.

    Attributes:
        line: of the fence or comment, from 1.
        kind: ``run``, ``file``, ``output``, or ``shown`` for a fence that nothing is done with.
        detail: what the marking comment says after its colon.
        text: with a newline at its end.
        language: of the fence.
        span: the lines of ``text``, counted from 0, end excluded.
    """

    line: int
    kind: str
    detail: str
    text: str
    language: str
    span: tuple[int, int]
    settings: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        words = re.findall(r'(\w+)(?:=("[^"]*"|\S+))?', self.detail) if self.kind == "run" else []
        self.settings = {key: value.strip('"') for key, value in words}


def pages() -> list[Path]:
    """Every document that a reader may open."""
    return sorted([*ROOT.glob("*.md"), ROOT / "runtime" / "README.md", *(ROOT / "docs").rglob("*.md")])


def page_name(page: Path) -> str:
    """The page's path from the root, for messages and test ids."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The page's fences and hidden commands, in their order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    kind, detail = "", ""
    position = 0
    while position < len(lines):
        line = lines[position]
        if mark := _MARK.match(line):
            kind, detail = mark[1], mark[2] or ""
        elif hidden := _HIDDEN.match(line):
            end = _end(page, lines, position, "-->")
            found.append(_block(lines, position, end, "run", hidden[1] or "", "bash"))
            position = end
        elif fence := _FENCE.match(line):
            end = _end(page, lines, position, fence[1])
            if fence[3]:
                kind, detail = "file", fence[3]
            found.append(
                _block(lines, position, end, kind or ("run" if fence[2] == "bash" else "shown"), detail, fence[2])
            )
            kind, detail, position = "", "", end
        else:
            assert not line.startswith("```"), f"{page_name(page)}, line {position + 1}: what is this fence?"
            assert not (kind and line.strip()), f"{page_name(page)}, line {position + 1}: no fence after the comment"
        position += 1
    return found


def _block(lines: list[str], start: int, end: int, kind: str, detail: str, language: str) -> Block:
    text = "".join(f"{line}\n" for line in lines[start + 1 : end])
    return Block(start + 1, kind, detail, text, language, (start + 1, end))


def _end(page: Path, lines: list[str], start: int, closing: str) -> int:
    for position in range(start + 1, len(lines)):
        if lines[position] == closing:
            return position
    raise AssertionError(f"{page_name(page)}, line {start + 1}: no closing {closing}")


def difference(expected: str, actual: str, *, numbers_vary: bool) -> str | None:
    """What a document shows against what was printed; None if they agree, else the first lines that do not."""
    wanted, printed = _lines(expected), _lines(actual)
    position, anchored = 0, True
    chunks = _chunks(wanted)
    for number, chunk in enumerate(chunks):
        last = number == len(chunks) - 1
        starts = [position] if anchored else range(position, len(printed) - len(chunk) + 1)
        if last and chunk and not anchored:
            starts = [len(printed) - len(chunk)]
        for start in starts:
            if start >= position and _equal(chunk, printed[start : start + len(chunk)], numbers_vary):
                position = start + len(chunk)
                break
        else:
            return "\n".join(chunk)
        anchored = False
    return None if position == len(printed) or not chunks[-1] else f"the end, at: {printed[position]}"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").split("\n")]


def _chunks(lines: list[str]) -> list[list[str]]:
    """Cut at the lines ``…``; a chunk may be empty at either end."""
    chunks: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == "…":
            chunks.append([])
        else:
            chunks[-1].append(line)
    return chunks


def _equal(expected: list[str], actual: list[str], numbers_vary: bool) -> bool:
    return len(expected) == len(actual) and all(
        re.fullmatch(_pattern(line, numbers_vary), found) for line, found in zip(expected, actual, strict=True)
    )


def _pattern(line: str, numbers_vary: bool) -> str:
    pattern = re.escape(line).replace("…", ".*?")
    if numbers_vary:
        pattern = re.sub(r"(?:\\-)?\d[\d,]*(?:\\\.\d+)?(?:e(?:\\-)?\d+)?", r"-?[\\d,.]+(?:e-?\\d+)?", pattern)
        pattern = re.sub(r"(?:\\ )+", r" +", pattern)
    return pattern
