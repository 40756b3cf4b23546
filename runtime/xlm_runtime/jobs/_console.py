"""Where jobs print their tables."""

from __future__ import annotations

from rich.console import Console

#: Wide enough for a table's prompts where the output is no terminal.
_WIDTH = 110


def make_console() -> Console:
    """Standard output, as wide as the terminal is; where there is none, of a width that depends on nothing."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)
