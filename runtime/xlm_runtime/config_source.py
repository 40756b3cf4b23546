"""The configuration files of discovered models: how Hydra reads them, what may stand in them, where a key stands."""

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

from xlm_runtime.discovery import discover
from xlm_runtime.errors import ConfigError, ConfigSyntaxError

RUNTIME_CONFIGS = "pkg://xlm_runtime.configs"
RUNTIME_DIRECTORY = Path(__file__).with_name("configs")

#: Groups whose files set keys of the whole configuration, with or without the header that says so.
GLOBAL_GROUPS = ("experiment", "model_type")


class ModelConfigSource(FileConfigSource):
    """The ``configs/`` directory of one model: files, as Hydra reads them, checked first."""

    @staticmethod
    def scheme() -> str:
        return "xlm-model"

    def load_config(self, config_path: str) -> ConfigResult:
        file = Path(self.path) / self._normalize_file_name(config_path)
        check_file(file)
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


def group_names() -> list[str]:
    """The config groups of the runtime and of every discovered model."""
    roots = [RUNTIME_DIRECTORY, *(model.configs for model in discover().models.values())]
    names = {path.name for root in roots for path in root.iterdir() if path.is_dir() and path.name[0] not in "._"}
    return sorted(names | {"model", "model_type", "experiment", "noise_schedule", "datamodule"})


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


def check_file(file: Path) -> None:
    """Check that a config file is UTF-8, YAML, a mapping, and that its defaults list is one.

    Raises:
        ConfigSyntaxError: with file and line.
        ConfigError: it cannot be read.
    """
    if not file.is_file():
        return
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}. Give yourself the right to read it.") from error
    try:
        root = yaml.compose(raw.decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigSyntaxError(f"{file}, line {line}: this is not UTF-8. Save the file as UTF-8.") from error
    except yaml.YAMLError as error:
        raise syntax_error(error, file) from error
    if root is None or root.tag == "tag:yaml.org,2002:null":
        return
    if not isinstance(root, yaml.MappingNode):
        raise ConfigSyntaxError(
            f"{file}, line {root.start_mark.line + 1}: found {_shown(root)}; a config file is a mapping, "
            "lines of 'key: value'."
        )
    for key, value in root.value:
        if key.value == "defaults":
            _check_defaults(file, value)


def _check_defaults(file: Path, node: yaml.Node) -> None:
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigSyntaxError(
            f"{file}, line {node.start_mark.line + 1}: 'defaults' is {_shown(node)}; expected a list:\n"
            "  defaults:\n    - override /model: my_model"
        )
    for item in node.value:
        for key in [key for key, _ in item.value] if isinstance(item, yaml.MappingNode) else []:
            words = str(key.value).split()
            if any(word not in ("override", "optional") for word in words[:-1]):
                raise ConfigSyntaxError(
                    f"{file}, line {key.start_mark.line + 1}: '{key.value}' in the defaults list: only 'override' and "
                    f"'optional' may stand before a group. Expected 'override {words[-1]}'."
                )


def syntax_error(error: yaml.YAMLError, file: Path | None = None) -> ConfigSyntaxError:
    """A YAML error as one of ours, with file, line and column as far as they are known."""
    if isinstance(error, yaml.reader.ReaderError):
        file = file or Path(error.name)
        text = file.read_text(encoding="utf-8", errors="replace")
        place = f"{file}, line {text.count(chr(10), 0, error.position) + 1}"
        return ConfigSyntaxError(f"{place}: this is not valid YAML: character {error.character!r}: {error.reason}.")
    if not isinstance(error, yaml.MarkedYAMLError):
        return ConfigSyntaxError(f"{file or 'A config file'}: this is not valid YAML: {error}")
    mark = error.problem_mark or error.context_mark
    name = str(file or (mark.name if mark else "A config file"))
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    problem = str(error.problem or error.context)
    remedy = " Indent with spaces: YAML allows no tabs there." if "\\t" in problem else ""
    return ConfigSyntaxError(f"{name}{place}: this is not valid YAML: {problem}.{remedy}")


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return f"only the value {node.value!r}"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
