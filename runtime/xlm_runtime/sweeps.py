"""Sweeps (``xlm -m``): which keys vary, what a job of the sweep is called, and where Hydra needs help with them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob

#: Each names a run by itself: a job that these tell apart needs no directory below it.
NAMING = ("job_name", "run_dir", "ckpt_path")

#: Directory names end at 255 bytes on most file systems.
_LONGEST = 120


def swept(words: Sequence[str]) -> dict[str, list[str]]:
    """The overrides that are sweeps: key -> values, as text; none for a range without a last value, and
    for a glob of a group's files, which Hydra knows later.

    Raises:
        OverrideParseException: a word is no override.
    """
    found: dict[str, list[str]] = {}
    for override in OverridesParser.create().parse_overrides(list(words)):
        if override.is_sweep_override() and override.key_or_group is not None:
            told = override.is_discrete_sweep() and not isinstance(override.value(), Glob)
            found[override.key_or_group] = list(override.sweep_string_iterator()) if told else []
    return found


def deferred(words: Sequence[str], groups: Sequence[str]) -> list[str]:
    """The words, values written as sweeps of one value where a config group is swept.

    Before a sweep Hydra composes a configuration without what is swept. A key that only a swept group declares, such
    as ``model.d_model`` in a sweep over experiments, is unknown there; sweeps are looked at later, in each job.
    """
    varying = swept(words)
    if not any(key.partition("@")[0] in groups for key in varying):
        return list(words)
    return [
        word
        if word.startswith(("~", "hydra")) or key in varying or key.partition("@")[0] in groups
        else f"{word.partition('=')[0]}=choice({word.partition('=')[2]})"
        for word in words
        for key in [word.partition("=")[0].lstrip("+")]
    ]


def job_label(words: Sequence[str], keys: Sequence[str]) -> str:
    """What tells one job of a sweep from the others, fit for a file's name.

    Args:
        words: the job's own overrides.
        keys: those that are swept.
    """
    told = [word for word in words if word.partition("=")[0].lstrip("+") in keys]
    name = ",".join(word for word in told if word.partition("=")[0] not in NAMING).replace("/", "_")
    if len(name.encode()) <= _LONGEST:
        return name
    return f"{name[: _LONGEST // 2]}~{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def runs_apart(arguments: Sequence[str], overrides: Sequence[str]) -> list[list[str]]:
    """The command lines, one for each saved run, of a sweep over saved runs; empty if it is about one run.

    Each run has a configuration of its own, so Hydra cannot sweep over them.
    """
    varying = swept(overrides)
    key = next((name for name in NAMING if varying.get(name)), None)
    if key is None:
        return []
    rest = [word for word in arguments if word.partition("=")[0] != key]
    if len(varying) == 1:
        rest = [word for word in rest if word not in ("-m", "--multirun")]
    return [[*rest, f"{key}={value}"] for value in varying[key]]
