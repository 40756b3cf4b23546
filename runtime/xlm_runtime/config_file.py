"""One file of a model's ``configs/``, looked at before Hydra reads it, whose words name neither file nor line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from xlm_runtime.config_groups import GLOBAL_GROUPS, config_roots, declared, group_names
from xlm_runtime.errors import ConfigError, ConfigSyntaxError

_NULL, _BOOL, _TEXT = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "str"))
_HEADER = re.compile(r"^\s*#\s*@package\s+(\S+)", re.MULTILINE)


def check_file(file: Path, config_path: str = "") -> None:
    """Check that a config file is UTF-8, YAML, a mapping of named keys, and that its defaults list is one.

    Args:
        file: where it is; nothing is said of one that does not exist.
        config_path: what Hydra calls it, ``experiment/star_easy_my_model``; empty for a file that Hydra does not read.

    Raises:
        ConfigSyntaxError: with file and line.
        ConfigError: it cannot be read, or what it says fits nowhere in the configuration.
    """
    if not file.is_file():
        return
    text, root = _read(file)
    if root is None or root.tag == _NULL:
        return
    if not isinstance(root, yaml.MappingNode):
        raise ConfigSyntaxError(
            f"{_place(file, root)}: found {_shown(root)}; a config file is a mapping, lines of 'key: value'."
        )
    _check_nodes(file, root, ())
    directory = config_path.rpartition("/")[0]
    if directory in GLOBAL_GROUPS:  # a file below it may be put elsewhere by who asks for it
        _check_header(file, text, directory)
        _check_kinds(file, root, declared(), "")
    for key, value in root.value:
        if key.value == "defaults":
            _check_defaults(file, value, directory)


def _read(file: Path) -> tuple[str, yaml.Node | None]:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}. Give yourself the right to read it.") from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigSyntaxError(f"{file}, line {line}: this is not UTF-8. Save the file as UTF-8.") from error
    try:
        return text, yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise syntax_error(error, file) from error
    except RecursionError as error:
        raise ConfigSyntaxError(f"{file}: its brackets are nested too deeply to be read.") from error


def _check_nodes(file: Path, node: yaml.Node, above: tuple[yaml.Node, ...]) -> None:
    """Refuse a key that is no word, and an alias of what it stands in."""
    if any(node is each for each in above):
        raise ConfigSyntaxError(f"{_place(file, node)}: what begins here holds itself, by a '*' alias within it.")
    for child in _children(node):
        _check_nodes(file, child, (*above, node))
    for key in [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _NULL:
            found = "null" if key.tag == _NULL else _shown(key)
            raise ConfigSyntaxError(f"{_place(file, key)}: found {found} as a key; expected a word before the ':'.")
        if key.tag == _BOOL:
            raise ConfigSyntaxError(
                f"{_place(file, key)}: YAML reads the key '{key.value}' as a truth value. If it is meant, quote it."
            )


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def _check_header(file: Path, text: str, group: str) -> None:
    header = _HEADER.search(text)
    if header and header[1] != "_global_":
        raise ConfigError(
            f"{file}, line {text.count(chr(10), 0, header.start(1)) + 1}: '# @package {header[1]}': a file of "
            f"configs/{group}/ sets keys of the whole configuration. Expected '# @package _global_', or no such line."
        )


def _check_kinds(file: Path, node: yaml.MappingNode, keys: Mapping[str, Any], prefix: str) -> None:
    """Refuse a list or a value where the configuration has a mapping."""
    for key, value in node.value:
        known = keys.get(key.value)
        if key.value == "defaults" or not isinstance(known, dict):
            continue
        if isinstance(value, yaml.MappingNode):
            _check_kinds(file, value, known, f"{prefix}{key.value}.")
        elif value.tag != _NULL and not str(value.value).startswith(("${", "???")):
            found = value.value if isinstance(value, yaml.ScalarNode) else "a list"
            raise ConfigError(f"{_place(file, key)}: {prefix}{key.value} is {found}; expected a mapping.")


def _check_defaults(file: Path, node: yaml.Node, directory: str) -> None:
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigSyntaxError(
            f"{_place(file, node)}: 'defaults' is {_shown(node)}; expected a list:\n"
            "  defaults:\n    - override /model: my_model"
        )
    overridden = ""
    for item in node.value:
        name, words = _item(file, item)
        if isinstance(item, yaml.MappingNode):
            _check_group(file, item, words, directory)
        if overridden and "override" not in words and name != "_self_":
            raise ConfigError(
                f"{_place(file, item)}: '{name}' stands behind '{overridden}' in the defaults list. "
                "Expected 'override' items at its end: move this one before them."
            )
        overridden = name if "override" in words else overridden


def _item(file: Path, item: yaml.Node) -> tuple[str, list[str]]:
    """What a line of a defaults list names, a file or a group, and its words."""
    pairs = item.value if isinstance(item, yaml.MappingNode) else [(item, None)]
    key, choice = pairs[0] if pairs else (item, None)
    name = str(key.value) if isinstance(key, yaml.ScalarNode) and key.tag == _TEXT else ""
    words = name.split()
    if not words or len(pairs) > 1 or isinstance(choice, yaml.MappingNode):
        what = "several groups in one item" if len(pairs) > 1 else _shown(item)
        raise ConfigSyntaxError(
            f"{_place(file, item)}: found {what} in the defaults list; expected a file's name, or 'group: name', "
            "behind each '-'."
        )
    if choice is None and len(words) > 1:
        raise ConfigSyntaxError(
            f"{_place(file, item)}: '{name}' in the defaults list: is a ':' missing? Expected 'override /group: name'."
        )
    if any(word not in ("override", "optional") for word in words[:-1]):
        raise ConfigSyntaxError(
            f"{_place(file, item)}: '{name}' in the defaults list: only 'override' and 'optional' may stand before a "
            f"group. Expected 'override {words[-1]}'."
        )
    return name, words


def _check_group(file: Path, item: yaml.Node, words: list[str], directory: str) -> None:
    """Refuse a group that lacks its '/', which Hydra looks for below the directory of the file."""
    group = words[-1].partition("@")[0]
    if not directory or group.startswith("/") or group.partition("/")[0] not in (*group_names(), "hydra"):
        return
    if not any((root / directory / group).is_dir() for root in config_roots()):
        expected = " ".join([*words[:-1], f"/{words[-1]}"])
        raise ConfigError(
            f"{_place(file, item)}: '{' '.join(words)}' in the defaults list: there is no "
            f"configs/{directory}/{group}/. Expected '{expected}': a group of its own begins with '/'."
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


def _place(file: Path, node: yaml.Node) -> str:
    return f"{file}, line {node.start_mark.line + 1}"


def _shown(node: yaml.Node) -> str:
    if node.tag == _NULL:
        return "nothing"
    if isinstance(node, yaml.ScalarNode):
        return f"only the value {node.value!r}"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
