"""How far a preparation is."""

from __future__ import annotations

import time

from rich.console import Console

from xlm_runtime.progress_line import ProgressLine

#: Seconds between two lines where there is no terminal.
INTERVAL = 10.0


class Report:
    """Says what a preparation does.

    Args:
        console: where to; standard output by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._line = ProgressLine(INTERVAL, console, share=True)
        self._what, self._total, self._start = "", 0, 0.0

    def say(self, text: str) -> None:
        """One line."""
        self._line.say(text)

    def begin(self, what: str, total: int) -> None:
        """A part of the work begins.

        Args:
            what: in words.
            total: bytes to be read; 0 if nobody knows.
        """
        self._what, self._total, self._start = what, total, time.monotonic()
        self._line.begin(what, total or None)

    def advance(self, done: int, documents: int, tokens: int) -> None:
        """So many bytes, documents and tokens of this part are done."""
        seconds = time.monotonic() - self._start
        words = f"{documents:,} documents, {tokens:,} tokens, {tokens / max(seconds, 1e-9):,.0f} tokens/s"
        share = f", {done / self._total:.0%} of the files" if self._total else ""
        self._line.advance(min(done, self._total) or None, words, f"{self._what}: {words}{share}")

    def end(self) -> None:
        """This part has ended."""
        self._line.end()
