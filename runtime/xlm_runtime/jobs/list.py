"""``job_type=list``, ``xlm`` and ``xlm --help``: what can be run here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xlm_runtime import __version__
from xlm_runtime.discovery import Discovery, discover
from xlm_runtime.jobs import JOBS

_USAGE = """\
usage: xlm job_type=<job> job_name=<name> experiment=<experiment> [key=value ...]
       xlm -m seed=1,2,3 ...           one job a value
       xlm --cfg job ...               the composed configuration, without running it
       xlm-scaffold <model>            a new model repository
"""


def run(cfg: Any = None) -> None:
    """Print job types, models and where each came from, their experiments and commands."""
    print("\n".join(_lines(discover())))  # at once: a model that cannot be read leaves no half of a list


def _lines(found: Discovery) -> Iterator[str]:
    yield f"xlm-runtime {__version__}\n\n{_USAGE}\njob types"
    width = max(len(name) for name in JOBS)
    for name, (_, words) in JOBS.items():
        yield f"  {name:<{width}}  {words}"
    yield "\nmodels" if found.models else "\nmodels: none found"
    for model in found.models.values():
        yield f"  {model.name}  ({model.source}: {model.root})"
        yield f"      experiments: {', '.join(model.experiments()) or 'none'}"
        if model.commands:
            yield f"      commands:    {', '.join(model.commands)}"
        for name in model.commands:
            if others := [other.name for other in found.models.values() if name in other.commands and other != model]:
                yield f"                   '{name}' cannot be run: it is a command of {', '.join(others)} too"
    if not found.models:
        yield "searched\n" + "\n".join(f"  {place}" for place in found.searched)
        yield "Make one with `xlm-scaffold my_model`."
