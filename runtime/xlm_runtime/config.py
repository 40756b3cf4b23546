"""Configuration: composition over all discovered models, and what is refused.

Composition is Hydra's. Three things are added: the ``configs/`` of every discovered model joins the search path, and
an ``experiment`` or ``model_type`` file may leave out its ``# @package _global_`` header (``config_source``); Hydra's
exceptions become the runtime's own (``config_errors``); and keys and values that no config declares or no job can
use are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict
from omegaconf.errors import OmegaConfBaseException

from xlm_runtime import config_errors
from xlm_runtime.config_groups import PRIMARY, group_names, primary
from xlm_runtime.config_source import ModelConfigSource, ModelSearchPath, key_pattern, written_in
from xlm_runtime.errors import ConfigError, UnknownKeyError, did_you_mean

#: What may go wrong while Hydra composes; ValueError is its answer to a defaults list that is none, RecursionError to
#: one that leads back to itself.
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError)

#: Whole numbers of the configuration and the least that each may be; null is refused but for `_OR_NULL`.
_LEAST = {
    "seed": 0,
    "batch_size": 1,
    "eval_batch_size": 1,
    "global_batch_size": 1,
    "num_workers": 0,
    "checkpoint_every_n_steps": 1,
    "num_samples": 1,
    "show": 0,
    "trainer.max_steps": -1,
    "trainer.log_every_n_steps": 0,
}
_OR_NULL = ("global_batch_size", "num_samples")
_NAMES = ("job_name", "run_dir", "cache_dir", "compare_file")
_SWITCHES = ("compile", "resume", "unconditional", "private", "trace")


def install_plugins() -> None:
    """Tell Hydra of the models' configuration files; a second call changes nothing."""
    plugins = Plugins.instance()
    if ModelSearchPath not in plugins.discover(SearchPathPlugin):
        plugins.register(ModelConfigSource)
        plugins.register(ModelSearchPath)


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that ``xlm <overrides>`` would run with.

    Raises:
        ConfigError: what Hydra refuses, said so that it can be mended; an unknown key; a value out of its range.
    """
    install_plugins()
    groups = group_names()
    for word in overrides:
        config_errors.check_override(word, groups)
    try:
        cfg, chosen = _compose(overrides)
    except COMPOSITION_ERRORS as error:
        raise explain(error, overrides) from error
    before = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = chosen  # type: ignore[assignment]  # what the messages look into
    try:
        check_keys(cfg)
    finally:
        HydraConfig.instance().cfg = before
    check_values(cfg)
    return cfg


def _compose(overrides: Sequence[str]) -> tuple[DictConfig, DictConfig]:
    """The configuration, and Hydra's own part of it, which says what was chosen."""
    GlobalHydra.instance().clear()
    with initialize_config_module("xlm_runtime.configs", version_base="1.3"):
        cfg = hydra_compose(PRIMARY, overrides=list(overrides), return_hydra_config=True)
    config_errors.check_choices(cfg.hydra.runtime.choices)
    chosen = OmegaConf.masked_copy(cfg, "hydra")
    with flag_override(cfg, ["readonly", "struct"], False):
        del cfg["hydra"]
    return cfg, chosen


def explain(error: Exception, overrides: Sequence[str] = (), saved: Path | None = None) -> ConfigError:
    """An exception of composing as one of ours; ``saved`` is the configuration that was overridden, if not composed."""
    return config_errors.explain(error, overrides, lambda: known_keys(overrides, saved))


def check_keys(cfg: DictConfig) -> None:
    """Refuse a key that neither the primary configuration nor a chosen group declares.

    Hydra checks what is overridden on the command line; what a YAML file adds it would take silently. Arguments of
    a ``_target_`` are checked when it is made.
    """
    _check_declared(cfg, {**primary(), **dict.fromkeys(group_names(), _GROUP)}, "")


def _is_set(node: Any, key: str) -> bool:
    return not (OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key) or node[key] is None)


#: What a group declares: a mapping, of keys that the chosen file names.
_GROUP: dict[str, Any] = {}


def _check_declared(node: Any, declared: Mapping[str, Any], prefix: str) -> None:
    for key in map(str, node):
        if key not in declared:
            lines = [
                f"Unknown key '{prefix}{key}' in the composed configuration: no config declares it. "
                f"{did_you_mean(key, declared)}",
                _given_in(f"{prefix}{key}"),
                f"'{prefix[:-1]}' has the keys {', '.join(declared)}." if prefix else "",
                "Correct its name, or keep keys of your own in a config group: configs/<group>/<name>.yaml.",
            ]
            raise UnknownKeyError("\n".join(filter(None, lines)))
        known, below = declared[key], node._get_node(key)
        if isinstance(known, dict) and not OmegaConf.is_dict(below) and _is_set(node, key):
            found = "a list" if OmegaConf.is_list(below) else repr(OmegaConf.select(node, key))
            lines = [f"{prefix}{key} is {found}; expected a mapping.", _given_in(f"{prefix}{key}")]
            raise ConfigError("\n".join(filter(None, lines)))
        if known and isinstance(known, dict) and "_target_" not in known and OmegaConf.is_dict(below):
            _check_declared(below, known, f"{prefix}{key}.")


def _given_in(key: str) -> str:
    """Which file gives a key its value; empty where the command line does."""
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else ()
    if key in map(config_errors.override_key, words):
        return ""
    return written_in(key_pattern(key)) or written_in(rf"^\s*#\s*@package\s+{re.escape(key)}\b")


def check_package(cfg: DictConfig, package: str) -> None:
    """Refuse a part of the configuration to be printed that there is not."""
    keys = list(_flatten(cfg))
    if package not in (*keys, "_global_"):
        raise UnknownKeyError(f"The configuration has no '{package}' to be printed. {did_you_mean(package, keys)}")


def check_values(cfg: DictConfig) -> None:
    """Refuse values that no job can use.

    Raises:
        ConfigError: names the key, the value and what is expected.
    """
    for key, least in _LEAST.items():
        value = OmegaConf.select(cfg, key)
        if value is None and (key in _OR_NULL or key not in cfg):
            continue
        if isinstance(value, float) and value.is_integer():  # 1e5
            value = int(value)
            OmegaConf.update(cfg, key, value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{key} is {value!r}; expected a whole number, at least {least}.")
    for key in _NAMES:
        value = OmegaConf.select(cfg, key)
        if key in cfg and (value is None or value == ""):
            variable = "; the variable XLM_CACHE_DIR gives it, if it is set: unset it, or let it name a directory"
            raise ConfigError(f"{key} is empty; expected a name{variable if key == 'cache_dir' else ''}.")
        if OmegaConf.is_config(value):
            raise ConfigError(f"{key} is {value}; expected a name.")
        if isinstance(value, bool | int | float):  # run_dir=2024 is a directory, too
            cfg[key] = str(value)
    name = str(cfg.get("job_name", ""))
    if name.startswith(("/", "~")) or ".." in name.split("/"):
        raise ConfigError(
            f"job_name is {name!r}; expected a name, of a directory below runs/. "
            "To write elsewhere, give run_dir=<path>."
        )
    if re.search(r"[/\\]|^\.", split := str(cfg.get("split", ""))):  # files bear its name
        raise ConfigError(f"split is {split!r}; expected the name of a split, such as val or test.")
    for key in _SWITCHES:
        value = OmegaConf.select(cfg, key)
        if key in cfg and not isinstance(value, bool):
            raise ConfigError(f"{key} is {value!r}; expected true or false.")
    if OmegaConf.select(cfg, "trainer.val_check_interval") == 0:
        raise ConfigError(
            "trainer.val_check_interval is 0; expected a number of training batches, at least 1. "
            "To validate never, set trainer.limit_val_batches=0."
        )


def known_keys(overrides: Sequence[str], saved: Path | None) -> list[str]:
    """Dotted keys that may be set: of the file ``saved``, or of what is composed with the groups that words choose."""
    groups = group_names()
    if saved is not None:
        return [*_flatten(OmegaConf.load(saved)), *groups]
    choices = [word for word in overrides if config_errors.override_key(word) in groups]
    for attempt in (choices, []):
        try:
            return [*_flatten(_compose(attempt)[0]), *groups]
        except (ConfigError, *COMPOSITION_ERRORS):
            continue
    return groups


def _flatten(cfg: Any, prefix: str = "") -> Iterator[str]:
    if not OmegaConf.is_dict(cfg):
        return
    for key in cfg:
        name = f"{prefix}{key}"
        yield name
        if not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, key):
            yield from _flatten(cfg._get_node(key), f"{name}.")


def set_vocab(cfg: DictConfig, facts: dict[str, int]) -> None:
    """Write the tokenizer's facts into ``cfg.vocab``, so that the saved configuration is complete."""
    with open_dict(cfg):
        cfg.vocab = facts
