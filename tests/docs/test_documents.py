"""The tools that read and compare documents: a comparison that always agrees would prove nothing."""

from __future__ import annotations

import pytest
from documents import difference


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("one\ntwo", "one\ntwo\n"),
        ("…\ntwo", "zero\none\ntwo\n"),
        ("one\n…", "one\n"),
        ("one\n…\nfour", "one\ntwo\nthree\nfour\n"),
        ("…\ntwo\n…", "one\ntwo\nthree\n"),
        ("from … to Z", "from A to Z\n"),
        ("a  \nb", "a\nb   \n"),
    ],
)
def test_what_agrees(shown: str, printed: str) -> None:
    assert difference(shown, printed, numbers_vary=False) is None


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("one", "one\ntwo\n"),
        ("two", "one\ntwo\n"),
        ("one\n…\ntwo", "one\ntwo\nthree\n"),
        ("…\ntwo\n…", "one\nthree\n"),
        ("…\none\ntwo\n…", "one\nthree\ntwo\n"),
        ("loss 0.5", "loss 0.6\n"),
        ("one", ""),
    ],
)
def test_what_differs(shown: str, printed: str) -> None:
    assert difference(shown, printed, numbers_vary=False) is not None


def test_numbers_may_vary_and_words_may_not() -> None:
    shown = "step 150  val/loss 0.3521  best runs/x/step=150.jsonl  1,193,728 parameters"
    assert difference(shown, "step 7 val/loss 1e-05 best runs/x/step=9.jsonl 12 parameters", numbers_vary=True) is None
    assert difference(shown, shown.replace("val/loss", "val/acc"), numbers_vary=True) is not None
    assert difference("loss 0.5", "loss nan", numbers_vary=True) is not None
