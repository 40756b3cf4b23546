"""A bar on a terminal, lines elsewhere; what is said is text in both."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from xlm_runtime.progress_line import ProgressLine


def shown(terminal: bool, share: bool = False, total: int | None = 8) -> str:
    """What two steps and a remark leave on the screen, without the codes that move the cursor."""
    file = io.StringIO()
    line = ProgressLine(0.0, Console(file=file, force_terminal=terminal, width=120), share)
    line.begin("read [b]ook", total, done=2)
    line.advance(4, "half [i]", "4 of 8  half [i]")
    line.say("a [red] remark")
    line.end()
    line.end()  # as after an exception within the last step
    return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", file.getvalue())


def test_a_bar_says_what_how_much_and_words() -> None:
    text = shown(terminal=True)
    assert re.search(r"read \[b\]ook ━.* 4/8 .*half \[i\]", text)
    assert "a [red] remark\n" in text and "4 of 8" not in text


def test_a_bar_may_show_the_share() -> None:
    assert re.search(r"read \[b\]ook ━.* 50% .*half \[i\]", shown(terminal=True, share=True))


def test_a_bar_without_a_known_end() -> None:
    assert "4/?" in shown(terminal=True, total=None)


def test_off_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(terminal=False) == ""
    assert capsys.readouterr().out == "4 of 8  half [i]\na [red] remark\n"


def test_lines_are_apart_and_remarks_are_not_kept_back(capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine(1e9, Console(file=io.StringIO()))
    line.begin("read", 8)
    line.advance(4, "half", "4 of 8")
    line.say("a remark")
    assert capsys.readouterr().out == "a remark\n"
