"""How far a preparation is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

#: Seconds between two lines where there is no terminal.
INTERVAL = 10.0


class Report:
    """Says what a preparation does.

    Args:
        console: where to; standard output by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._bar: Progress | None = None
        self._task: Any = None
        self._what, self._total, self._start, self._said = "", 0, 0.0, 0.0

    def say(self, text: str) -> None:
        """One line."""
        if self._console.is_terminal:
            self._console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def begin(self, what: str, total: int) -> None:
        """A part of the work begins.

        Args:
            what: in words.
            total: bytes to be read; 0 if nobody knows.
        """
        self.end()
        self._what, self._total = what, total
        self._start = self._said = time.monotonic()
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(what, total=total or None)

    def advance(self, done: int, documents: int, tokens: int) -> None:
        """So many bytes, documents and tokens of this part are done."""
        seconds = time.monotonic() - self._start
        words = f"{self._what}: {documents:,} documents, {tokens:,} tokens, {tokens / max(seconds, 1e-9):,.0f} tokens/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=min(done, self._total) or None, description=words)
        elif time.monotonic() - self._said >= INTERVAL:
            self._said = time.monotonic()
            share = f", {done / self._total:.0%} of the files" if self._total else ""
            self.say(words + share)

    def end(self) -> None:
        """This part has ended."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
