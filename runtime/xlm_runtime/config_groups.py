"""What there is to be configured: keys of the primary configuration, groups of the runtime and of models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from xlm_runtime.discovery import discover
from xlm_runtime.model_package import check_readable

RUNTIME_DIRECTORY = Path(__file__).with_name("configs")

PRIMARY = "config"

#: Groups whose files set keys of the whole configuration, with or without the header that says so.
GLOBAL_GROUPS = ("experiment", "model_type")

#: Groups that only models have files of.
_OF_MODELS = {"model", "model_type", "experiment", "noise_schedule", "datamodule"}


def group_names() -> list[str]:
    """The config groups of the runtime and of every discovered model.

    Raises:
        ModelLayoutError: a directory of a model's configs cannot be read.
    """
    names = set(_OF_MODELS)
    for root in config_roots():
        for entry in os.scandir(root):
            if entry.is_dir() and entry.name[0] not in "._":
                check_readable(Path(entry.path), "the configs of a model")
                names.add(entry.name)
    return sorted(names)


def config_roots() -> list[Path]:
    """The ``configs/`` of the runtime and of every discovered model."""
    return [RUNTIME_DIRECTORY, *(model.configs for model in discover().models.values())]


def primary() -> dict[str, Any]:
    """The keys that the primary configuration declares, and their defaults."""
    content = yaml.safe_load((RUNTIME_DIRECTORY / f"{PRIMARY}.yaml").read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key not in ("defaults", "hydra")}


def declared() -> dict[str, Any]:
    """The keys of the whole configuration and their defaults; ``{}`` where a file says which keys a key holds."""
    keys = primary()
    return {**keys, **{key: {} for key in (*group_names(), "loss", "predictor") if not isinstance(keys.get(key), dict)}}
