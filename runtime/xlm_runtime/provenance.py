"""Where numbers come from: the model repository's commit, versions, seed, date, and what was asked for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from xlm_runtime import __version__
from xlm_runtime.discovery import discover

_LIBRARIES = ("torch", "lightning", "transformers")
_SECONDS = 20  # a file system that does not answer must not hold an evaluation up


def describe(cfg: DictConfig, model: bool = True) -> dict[str, Any]:
    """What stands beside the numbers of a job.

    Args:
        cfg: its configuration.
        model: whether the job ran the model: its seed and its repository's commit are told.

    Returns:
        ``date`` (UTC), ``overrides`` of the command line, ``versions``; of a model also ``seed`` and ``commit``.
    """
    facts: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "overrides": overrides(),
        "versions": versions(),
    }
    if model:
        facts |= {"seed": cfg.seed, "commit": commit(str(OmegaConf.select(cfg, "model._target_")).partition(".")[0])}
    return facts


def versions() -> dict[str, str]:
    """Of Python, the runtime and the libraries that numbers depend on; torch is not imported for it."""
    found = {"python": platform.python_version(), "xlm-runtime": __version__}
    return found | {name: importlib.metadata.version(name) for name in _LIBRARIES}


def commit(package: str) -> dict[str, Any] | None:
    """The commit that a model's package was at: ``hash``, and ``dirty``, whether anything in its repository differs.

    None where git does not know the package: it is installed, or nobody has made a repository of it.
    """
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.origin:
        return None
    directory = Path(spec.origin).parent
    model = discover().models.get(package)
    root = directory if model is None else model.root
    # An environment may stand inside of some other repository, which knows nothing of what is installed there.
    known = _git(directory, "ls-files", "--error-unmatch", "--", Path(spec.origin).name)
    head = _git(directory, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", ".")
    if known is None or head is None or changes is None:
        return None
    return {"hash": head, "dirty": bool(changes)}


def _git(directory: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(directory), *words],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def overrides() -> list[str]:
    """The words of the command line; none in Python."""
    if not HydraConfig.initialized():
        return []
    return [str(word).lstrip("+") for word in HydraConfig.get().overrides.task]
