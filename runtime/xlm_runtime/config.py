"""Configuration: Hydra's search path over all discovered models, composition, and errors that help.

Composition is Hydra's. This file adds three things: the ``configs/`` of every discovered model joins the search
path; an ``experiment`` or ``model_type`` file may leave out its ``# @package _global_`` header; and Hydra's
exceptions become the runtime's own, which say what exists and what was near.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from xlm_runtime.discovery import Discovery, discover
from xlm_runtime.errors import (
    ConfigError,
    ConfigNotFoundError,
    ConfigSyntaxError,
    UnknownKeyError,
    did_you_mean,
)

RUNTIME_CONFIGS = "pkg://xlm_runtime.configs"
PRIMARY = "config"

#: Groups whose files set keys of the whole configuration, with or without the header that says so.
GLOBAL_GROUPS = ("experiment", "model_type")


class ModelConfigSource(FileConfigSource):
    """The ``configs/`` directory of one model: files, as Hydra reads them, with clearer YAML errors."""

    @staticmethod
    def scheme() -> str:
        return "xlm-model"

    def load_config(self, config_path: str) -> ConfigResult:
        try:
            result = super().load_config(config_path)
        except yaml.MarkedYAMLError as error:
            file = Path(self.path) / self._normalize_file_name(config_path)
            raise _syntax_error(file, error) from error
        if config_path.split("/")[0] in GLOBAL_GROUPS and result.header.get("package") is None:
            result.header["package"] = "_global_"
        return result


class ModelSearchPath(SearchPathPlugin):
    """Appends the runtime's configs and those of every discovered model to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        present = {element.path for element in search_path.get_path()}
        if RUNTIME_CONFIGS not in present:
            search_path.append("xlm_runtime", RUNTIME_CONFIGS)
        for model in discover().models.values():
            search_path.append(model.name, f"{ModelConfigSource.scheme()}://{model.configs}")


def install_plugins() -> None:
    """Tell Hydra of the two plugins above; a second call changes nothing."""
    plugins = Plugins.instance()
    if ModelSearchPath not in plugins.discover(SearchPathPlugin):
        plugins.register(ModelConfigSource)
        plugins.register(ModelSearchPath)


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that ``xlm <overrides>`` would run with.

    Raises:
        ConfigError: what Hydra refuses, said so that it can be mended.
    """
    install_plugins()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("xlm_runtime.configs", version_base="1.3"):
            cfg = hydra_compose(PRIMARY, overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, overrides) from error
    check_keys(cfg)
    return cfg


def check_keys(cfg: DictConfig) -> None:
    """Refuse a top-level key that neither the primary configuration nor a chosen group declares.

    Hydra checks what is overridden on the command line; what a YAML file adds it would take silently.
    """
    known = set(_declared_keys()) | set(group_names())
    for key in map(str, cfg):
        if key not in known:
            raise UnknownKeyError(
                f"Unknown key '{key}' in the composed configuration: no config declares it. "
                f"{did_you_mean(key, known)}\n"
                "It was set by an experiment, a model_type or a debug file. Correct its name there, or keep "
                "keys of your own in a config group of your own (configs/<group>/<name>.yaml)."
            )


def explain(error: Exception, overrides: Sequence[str] = ()) -> ConfigError:
    """Hydra's exception as one of ours."""
    text = str(error).strip()
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_config(error, text)
    match = re.search(r"Could not override '([^']+)'", text)
    if match:
        return _unknown_key(match.group(1), text, overrides)
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and str(cause).strip() not in text:
        text = f"{text}\n{str(cause).strip()}"
    return ConfigError(f"The configuration cannot be composed.\n{text}")


def _missing_config(error: MissingConfigException, text: str) -> ConfigNotFoundError:
    wanted = str(error.missing_cfg_file or "")
    options = [str(option) for option in (error.options or [])]
    where = re.match(r"In '([^']+)'", text)
    group, _, name = wanted.rpartition("/")
    lines = [f"Could not find '{wanted}'" + (f" (asked for by '{where.group(1)}')." if where else ".")]
    if group:
        lines.append(f"There is no file configs/{wanted}.yaml in any model, nor in the runtime.")
    if near := did_you_mean(name, options):
        lines.append(near)
    if options:
        lines.append(f"What exists in '{group}': {', '.join(options)}.")
    found = discover()
    if group in {"experiment", "model", "model_type", "datamodule", "collator"} and not any(
        name == model or name.endswith(f"_{model}") or name.startswith(f"{model}_") for model in found.models
    ):
        lines.append(_models_found(name, found))
    return ConfigNotFoundError("\n".join(lines))


def _models_found(name: str, found: Discovery) -> str:
    words = [name, *(name.split("_", position)[-1] for position in range(1, name.count("_") + 1))]
    near = next((hint for word in words if (hint := did_you_mean(word, found.models))), "")
    known = ", ".join(found.models) or "none"
    places = "\n".join(f"  {place}" for place in found.searched)
    return (
        f"No discovered model is named in '{name}'. Models discovered: {known}. {near}\n"
        f"Searched:\n{places}\n"
        "Register a model in xlm_models.json, or install it with pip; `xlm` lists what is found."
    )


def _unknown_key(key: str, text: str, overrides: Sequence[str]) -> UnknownKeyError:
    rest = [item for item in overrides if _override_key(item) != key]
    try:
        cfg = compose(rest) if len(rest) < len(overrides) else compose()
        known = list(_flatten(cfg))
    except ConfigError:
        known = []
    known += group_names()
    lines = [f"Unknown key '{key}' on the command line: no config declares it."]
    leaf = key.rpartition(".")[2]
    same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
    if same_leaf:
        lines.append(f"Did you mean {' or '.join(repr(name) for name in same_leaf[:3])}?")
    elif near := did_you_mean(key, known):
        lines.append(near)
    elif "is not in struct" not in text and "No match" not in text:
        lines.append(text)
    lines.append(f"To add a key that a component takes but no config names, write '+{key}=...'.")
    return UnknownKeyError("\n".join(lines))


def _override_key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _flatten(cfg: Any, prefix: str = "") -> Iterator[str]:
    if not OmegaConf.is_dict(cfg):
        return
    for key in cfg:
        name = f"{prefix}{key}"
        yield name
        if not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, key):
            yield from _flatten(cfg._get_node(key), f"{name}.")


def _primary_file() -> Any:
    file = Path(__file__).with_name("configs") / f"{PRIMARY}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _declared_keys() -> list[str]:
    return [key for key in _primary_file() if key not in ("defaults", "hydra")]


def group_names() -> list[str]:
    """The config groups of the runtime and of every discovered model."""
    roots = [Path(__file__).with_name("configs"), *(model.configs for model in discover().models.values())]
    names = {path.name for root in roots for path in root.iterdir() if path.is_dir()}
    return sorted(names | {"model", "model_type", "experiment", "noise_schedule", "datamodule"})


def _syntax_error(file: Path, error: yaml.MarkedYAMLError) -> ConfigSyntaxError:
    mark = error.problem_mark or error.context_mark
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return ConfigSyntaxError(f"{file}{place}: this is not valid YAML: {error.problem or error}.")


def set_vocab(cfg: DictConfig, facts: dict[str, int]) -> None:
    """Write the tokenizer's facts into ``cfg.vocab``, so that the saved configuration is complete."""
    with open_dict(cfg):
        cfg.vocab = facts
