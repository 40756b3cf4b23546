"""How far something is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


class ProgressLine:
    """One bar, or the lines in its place.

    Args:
        seconds: where there is no terminal, at least this long between two lines.
        console: where to; standard output by default.
        share: of a bar, show the share that is done, in per cent, and take it away at its end; else the two numbers.
    """

    def __init__(self, seconds: float, console: Console | None = None, share: bool = False) -> None:
        self.seconds = seconds
        self._share = share
        self._console = console or Console()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._said = 0.0

    def begin(self, what: str, total: int | None, done: int = 0) -> None:
        """Something begins; what was shown before ends.

        Args:
            what: in words.
            total: how much there is to do, in any unit; None if nobody knows.
            done: how much of it was done before.
        """
        self.end()
        self._said = time.monotonic()
        if self._console.is_terminal:
            number: ProgressColumn = TaskProgressColumn() if self._share else MofNCompleteColumn()
            # What is said is text, and no markup.
            name, words = (
                TextColumn("{task.description}", markup=False),
                TextColumn("{task.fields[words]}", markup=False),
            )
            columns = (name, BarColumn(), number, TimeRemainingColumn(), words)
            self._bar = Progress(*columns, console=self._console, transient=self._share)
            self._task = self._bar.add_task(what, total=total, completed=done, words="")
            self._bar.start()

    def advance(self, done: int | None, words: str, line: str) -> None:
        """So much is done.

        Args:
            done: in the unit of ``total``; None leaves the bar where it is.
            words: behind the bar.
            line: where there is no bar, if it is time for one.
        """
        if self._bar is not None:
            self._bar.update(self._task, completed=done, words=words)
        elif time.monotonic() - self._said >= self.seconds:
            self._said = time.monotonic()
            self.say(line)

    def say(self, text: str) -> None:
        """One line, above the bar if there is one."""
        if self._console.is_terminal:
            self._console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def end(self) -> None:
        """It has ended, one way or another."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def without_bars() -> Iterator[None]:
    """Meanwhile transformers shows no bars of its own: it has one for each file of weights, however small."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
