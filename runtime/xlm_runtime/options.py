"""Options of a component, looked at when it is made: a value out of its range is an error that names its key.

    check_whole_number("predictor.steps", steps, least=1, or_null=True)
    check_number("predictor.top_p", top_p, "(0, 1]", or_null=True)
    check_choice("predictor.method", method, ("random", "confidence"))
    check_switch("loss.inverse_count", inverse_count)

The command line gives whatever was typed: ``predictor.steps=2.5`` and ``predictor.steps=few`` come here, too. A boolean
is no number, and a number is no boolean.
"""

from __future__ import annotations

from collections.abc import Iterable

from xlm_runtime.errors import ConfigError, did_you_mean


def check_whole_number(key: str, value: object, least: int, or_null: bool = False) -> None:
    """Raise a ConfigError unless ``value`` is an int of at least ``least``, or None where that is allowed."""
    if (value is None and or_null) or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
        return
    raise _refused(key, value, f"a whole number of at least {least}", or_null)


def check_number(key: str, value: object, interval: str, or_null: bool = False) -> None:
    """Raise a ConfigError unless ``value`` is in ``interval``, or None where that is allowed.

    Args:
        key: of the configuration, for the message.
        value: what was given.
        interval: such as "(0, 1]" or "[0, inf)": a round bracket leaves its bound out. NaN is in none.
        or_null: whether None will do.
    """
    if value is None and or_null:
        return
    low, high = map(float, interval[1:-1].split(","))
    if isinstance(value, int | float) and not isinstance(value, bool):
        above = low <= value if interval[0] == "[" else low < value
        below = value <= high if interval[-1] == "]" else value < high
        if above and below:
            return
    raise _refused(key, value, f"a number in {interval}", or_null)


def check_choice(key: str, value: object, choices: Iterable[str]) -> None:
    """Raise a ConfigError unless ``value`` is one of ``choices``; it lists them."""
    known = list(choices)
    if value not in known:
        near = did_you_mean(str(value), known)
        raise ConfigError(f"{key} is {value!r}; expected one of: {', '.join(known)}." + (f" {near}" if near else ""))


def check_switch(key: str, value: object) -> None:
    """Raise a ConfigError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise _refused(key, value, "true or false")


def _refused(key: str, value: object, expected: str, or_null: bool = False) -> ConfigError:
    return ConfigError(f"{key} is {value!r}; expected {expected}{', or null' if or_null else ''}.")
