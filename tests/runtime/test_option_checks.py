"""Options are in their range, or the error names key, value and range."""

from __future__ import annotations

import math

import pytest

from xlm_runtime.errors import ConfigError
from xlm_runtime.options import check_choice, check_number, check_switch, check_whole_number


@pytest.mark.parametrize("value", [3, 10**12])
def test_whole_numbers(value: int) -> None:
    check_whole_number("a.b", value, least=3)


@pytest.mark.parametrize("value", [2, -3, 3.0, 3.5, "3", True, None, math.inf])
def test_what_is_no_whole_number(value: object) -> None:
    with pytest.raises(ConfigError) as refused:
        check_whole_number("a.b", value, least=1 if value is True else 3)
    assert f"a.b is {value!r}; expected a whole number of at least" in str(refused.value)


def test_null_is_allowed_where_it_means_something() -> None:
    check_whole_number("a.b", None, least=1, or_null=True)
    check_number("a.b", None, "(0, 1]", or_null=True)
    with pytest.raises(ConfigError, match=r"^a\.b is 0; expected a whole number of at least 1, or null\.$"):
        check_whole_number("a.b", 0, least=1, or_null=True)
    with pytest.raises(ConfigError, match=r"^a\.b is 0; expected a number in \(0, 1\], or null\.$"):
        check_number("a.b", 0, "(0, 1]", or_null=True)


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1]", [0, 0.0, 0.5, 1], [-1e-9, 1.1]),
        ("(0, 1]", [1e-9, 1], [0, -0.0, 2]),
        ("[-2, 1)", [-2, 0.999], [1, -2.1]),
        ("(0, inf)", [1e-9, 1e300], [0, math.inf]),
    ],
)
def test_numbers(interval: str, inside: list[float], outside: list[float]) -> None:
    for value in inside:
        check_number("a.b", value, interval)
    for value in (*outside, math.nan, "0.5", True, None):
        with pytest.raises(ConfigError) as refused:
            check_number("a.b", value, interval)
        assert str(refused.value) == f"a.b is {value!r}; expected a number in {interval}."


def test_choices_are_listed_and_the_nearest_one_is_named() -> None:
    check_choice("a.b", "joint", ("joint", "slot_first"))
    with pytest.raises(ConfigError) as refused:
        check_choice("a.b", "jont", ("joint", "slot_first"))
    assert str(refused.value) == "a.b is 'jont'; expected one of: joint, slot_first. Did you mean 'joint'?"
    for value in (None, 1, True, "JOINT"):
        with pytest.raises(ConfigError, match=r"expected one of: joint\."):
            check_choice("a.b", value, ("joint",))


def test_switches() -> None:
    check_switch("a.b", True)
    check_switch("a.b", False)
    for value in (1, 0, "true", None):
        with pytest.raises(ConfigError) as refused:
            check_switch("a.b", value)
        assert str(refused.value) == f"a.b is {value!r}; expected true or false."
