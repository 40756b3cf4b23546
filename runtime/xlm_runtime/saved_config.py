"""The configuration of a saved run, or of a checkpoint, as what Hydra takes overrides of."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from xlm_runtime.config_groups import PRIMARY, group_names, primary
from xlm_runtime.files import write_text
from xlm_runtime.runs import missing_run, read_config


def last_value(overrides: Sequence[str], key: str) -> str | None:
    """What the command line's words give a key; None for an empty value, and where none names it."""
    values = [word.partition("=")[2] for word in overrides if word.lstrip("+").partition("=")[0] == key]
    return values[-1].strip("'\"") or None if values else None


@contextmanager
def saved_config(overrides: Sequence[str]) -> Iterator[Path]:
    """A directory whose config.yaml is what ``ckpt_path``, ``run_dir`` or ``job_name`` asks for.

    What a group is chosen for anew is left out of it: of two options, the settings would mix.

    Raises:
        CheckpointError: there is no such run, or the checkpoint carries no configuration.
        ConfigSyntaxError: it is no YAML any more.
    """
    ckpt_path = last_value(overrides, "ckpt_path")
    if ckpt_path:
        from xlm_runtime.exported import config_of, source

        cfg = OmegaConf.create(config_of(source(ckpt_path)))
    else:
        run_dir = Path(last_value(overrides, "run_dir") or f"runs/{last_value(overrides, 'job_name') or 'default'}")
        if not (run_dir / f"{PRIMARY}.yaml").is_file():
            raise missing_run(run_dir)
        cfg = OmegaConf.create(read_config(run_dir / f"{PRIMARY}.yaml"))
    assert isinstance(cfg, DictConfig)
    cfg.update({key: value for key, value in primary().items() if key not in cfg})  # saved by an older runtime
    for word in overrides:
        if chosen := _chosen_group(word):
            _leave_out(cfg, chosen)
    with tempfile.TemporaryDirectory(prefix="xlm-") as directory:
        write_text(Path(directory) / f"{PRIMARY}.yaml", OmegaConf.to_yaml(cfg))
        yield Path(directory)


def as_additions(arguments: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The arguments, ``group=option`` as ``+group=option``: a saved configuration has no defaults list to change."""
    return [f"+{word}" if word in overrides and _chosen_group(word) else word for word in arguments]


def _chosen_group(word: str) -> str | None:
    """The key at which ``group=option`` or ``group@key=option`` puts the option; None for any other word."""
    key, _, value = word.partition("=")
    group, _, package = key.partition("@")
    if group not in group_names() or value.startswith("{"):
        return None
    return package or group


def _leave_out(cfg: DictConfig, key: str) -> None:
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if isinstance(node, DictConfig) and leaf in node:
        with open_dict(node):
            del node[leaf]
