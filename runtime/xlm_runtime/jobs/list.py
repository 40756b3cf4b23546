"""``job_type=list``, ``xlm`` and ``xlm --help``: what can be run here."""

from __future__ import annotations

from typing import Any

from xlm_runtime import __version__
from xlm_runtime.discovery import discover
from xlm_runtime.jobs import JOBS

_USAGE = """\
usage: xlm job_type=<job> job_name=<name> experiment=<experiment> [key=value ...]
       xlm -m seed=1,2,3 ...           one job a value
       xlm --cfg job ...               the composed configuration, without running it
       xlm-scaffold <model>            a new model repository
"""


def run(cfg: Any = None) -> None:
    """Print job types, models and where each came from, their experiments and commands."""
    found = discover()
    print(f"xlm-runtime {__version__}\n\n{_USAGE}\njob types")
    width = max(len(name) for name in JOBS)
    for name, (_, words) in JOBS.items():
        print(f"  {name:<{width}}  {words}")
    print("\nmodels" if found.models else "\nmodels: none found")
    for model in found.models.values():
        print(f"  {model.name}  ({model.source}: {model.root})")
        print(f"      experiments: {', '.join(model.experiments()) or 'none'}")
        if model.commands:
            print(f"      commands:    {', '.join(model.commands)}")
    if not found.models:
        print("searched\n" + "\n".join(f"  {place}" for place in found.searched))
        print("Make one with `xlm-scaffold my_model`.")
