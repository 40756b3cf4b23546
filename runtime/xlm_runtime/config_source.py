"""The configuration files of discovered models: how Hydra finds and reads them, and where a key stands in them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin

from xlm_runtime.config_file import check_file, syntax_error
from xlm_runtime.config_groups import GLOBAL_GROUPS
from xlm_runtime.discovery import discover

RUNTIME_CONFIGS = "pkg://xlm_runtime.configs"


class ModelConfigSource(FileConfigSource):
    """The ``configs/`` directory of one model: files, as Hydra reads them, checked first."""

    @staticmethod
    def scheme() -> str:
        return "xlm-model"

    def load_config(self, config_path: str) -> ConfigResult:
        file = Path(self.path) / self._normalize_file_name(config_path)
        check_file(file, config_path)
        try:
            result = super().load_config(config_path)
        except yaml.YAMLError as error:  # a key that stands twice
            raise syntax_error(error, file) from error
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


def written_in(pattern: str, limit: int = 3) -> str:
    """A line that names the places in models' config files where a line matches; empty if there is none.

    Of a configuration that is composed already, files that were chosen come first: if one matches, no other is named.
    """
    regex, chosen = re.compile(pattern), _chosen()
    found = list(_matches(regex, chosen)) if chosen else []
    found = found or list(_matches(regex))
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return f"Written in {'; '.join(found[:limit])}{more}." if found else ""


def _chosen() -> set[str]:
    """The files that the present configuration is composed of, below a model's ``configs/``."""
    if not HydraConfig.initialized():
        return set()
    choices = HydraConfig.get().runtime.choices
    return {f"{str(group).partition('@')[0].lstrip('/')}/{choice}.yaml" for group, choice in choices.items()}


def _matches(pattern: re.Pattern[str], only: Collection[str] | None = None) -> Iterator[str]:
    for model in discover().models.values():
        for file in sorted(model.configs.rglob("*.yaml")):
            if only is not None and file.relative_to(model.configs).as_posix() not in only:
                continue
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            yield from (f"{file}, line {i}" for i, line in enumerate(lines, 1) if pattern.search(line))


def key_pattern(key: str) -> str:
    """What a line looks like that sets ``key`` (its last part, for a dotted key), for `written_in`."""
    return rf"(^|[\s{{,]){re.escape(key.rpartition('.')[2])}\s*:"
