"""``configs/commands.yaml``: a model's further job types, ``name: package.module.function``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import yaml

from xlm_runtime.errors import RegistryError
from xlm_runtime.registry import read_text

_EXPECTED = "Expected lines 'name: package.module.function', as in 'show: my_model.show.main'."
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Commands(Mapping[str, str]):
    """Job type → dotted path of a function. Where no file exists, there are no commands.

    The first of ``files`` that exists is read when the mapping is first looked into: parsing the
    YAML of a thousand models takes longer than finding them. Whether the functions exist is not
    asked here.

    Raises:
        RegistryError: at the first look; a file that cannot be read or says anything else, with
            file and line.
    """

    def __init__(self, *files: Path) -> None:
        self._files = files

    @cached_property
    def _entries(self) -> dict[str, str]:
        for file in self._files:
            if (text := read_text(file)) is not None:
                return _parse(file, text)
        return {}

    def __getitem__(self, name: str) -> str:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Commands({', '.join(str(file) for file in self._files)})"


def _parse(file: Path, text: str) -> dict[str, str]:
    root = _compose(file, text)
    if root is None or root.tag == "tag:yaml.org,2002:null":  # an empty file, or one that says null
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise RegistryError(f"{file}, line {root.start_mark.line + 1}: found {_shown(root)}. {_EXPECTED}")
    commands: dict[str, str] = {}
    for key, value in root.value:
        place = f"{file}, line {key.start_mark.line + 1}"
        name, target = _string(key), _string(value)
        if name is None or not _NAME.fullmatch(name):
            raise RegistryError(
                f"{place}: {_shown(key)} cannot be a command's name (letters, digits, '_' and '-', "
                f"a letter first; quote a word that YAML takes for a boolean). {_EXPECTED}"
            )
        if name in commands:
            raise RegistryError(f"{place}: the command '{name}' stands twice. Remove one of the two, or rename it.")
        parts = (target or "").split(".")
        if target is None or len(parts) < 2 or not all(part.isidentifier() for part in parts):
            raise RegistryError(
                f"{place}: the command '{name}' is {_shown(value)}, not the dotted path of a function. {_EXPECTED}"
            )
        commands[name] = target
    return commands


def _compose(file: Path, text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}, line {mark.line + 1}" if mark else str(file)
        problem = error.problem or error.context
        raise RegistryError(f"{place}: not valid YAML: {problem}. {_EXPECTED}") from error
    except yaml.reader.ReaderError as error:
        place = f"{file}, line {text.count(chr(10), 0, error.position) + 1}"
        raise RegistryError(f"{place}: not valid YAML: {error.reason}. {_EXPECTED}") from error
    except RecursionError as error:
        raise RegistryError(f"{file}, line 1: cannot be read: {error}. {_EXPECTED}") from error


def _string(node: yaml.Node) -> str | None:
    return str(node.value) if node.tag == "tag:yaml.org,2002:str" else None


def _shown(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"
    kind = node.tag.rpartition(":")[2]
    return repr(node.value) if kind == "str" else f"{node.value!r} (read as {kind})"
