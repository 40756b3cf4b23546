"""``xlm_models.json``: the file that names the model repositories of a directory.

Its own form is checked here, and each error names file and line. Whether a path leads to a model
is not asked here.
"""

from __future__ import annotations

import json
import keyword
import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xlm_runtime.errors import ExternalModelConflictError, RegistryError, ScaffoldError
from xlm_runtime.files import write_text

REGISTRY_FILE = "xlm_models.json"

#: What the runtime imports, of its own and of its dependencies: a model of such a name would stand before it on
#: ``sys.path``. A test compares this with what is installed.
NEEDED_PACKAGES = (
    "_yaml copier datasets functorch huggingface_hub hydra hydra_plugins jinja2 lightning matplotlib mpl_toolkits "
    "numpy omegaconf pydevd_plugins pylab rich safetensors tensorboard tokenizers torch torchdata torchgen "
    "torchmetrics transformers xlm_runtime yaml"
)

_EXPECTED = 'Expected an object of names and paths, such as {"my_model": "path/to/my_model"}.'
# In text that has parsed as JSON, a quotation mark stands nowhere but around strings.
_JSON_STRING = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?')


@dataclass(frozen=True)
class Registry:
    """One ``xlm_models.json``; ``entries`` maps a model's name to its path, as written there."""

    file: Path
    entries: Mapping[str, str]
    text: str = field(repr=False)

    def where(self, name: str) -> str:
        """The entry's place, for a message: ``/path/xlm_models.json, line 3``."""
        return f"{self.file}, line {_key_lines(self.text, name)[0]}"


def read_registry(file: Path) -> Registry | None:
    """The registry in ``file``; None where there is no such file.

    Raises:
        RegistryError: a file that cannot be read, is no UTF-8 or malformed; another shape than
            names and paths; a name that cannot be a model's.
        ExternalModelConflictError: one name twice in the file.
    """
    text = read_text(file)
    if text is None:
        return None
    pairs: list[tuple[str, Any]] = []

    def keep(found: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs[:] = found  # objects are reported from the inside out, so the outermost one stays
        return dict(found)

    try:
        content = json.loads(text, object_pairs_hook=keep)
    except json.JSONDecodeError as error:
        place = f"{file}, line {error.lineno}, column {error.colno}"
        culprit = text.split("\n")[error.lineno - 1].strip()
        quoted = f", in: {culprit}" if culprit else ""
        raise RegistryError(f"{place}: not valid JSON: {error.msg}{quoted}\n{_EXPECTED}") from error
    except (RecursionError, ValueError) as error:  # 10,000 brackets, a number of 5,000 digits
        raise RegistryError(f"{file}, line 1: cannot be read: {error}. {_EXPECTED}") from error
    if not isinstance(content, dict):
        before = text[: len(text) - len(text.lstrip())]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise RegistryError(f"{file}, line {line}, column {column}: found {_json_type(content)}. {_EXPECTED}")
    registry = Registry(file, content, text)
    _check_entries(registry, pairs)
    return registry


def register(directory: Path, name: str, path: str) -> None:
    """Add ``name: path`` to ``directory/xlm_models.json``, which is made if it does not exist.

    The file is replaced as a whole, never left half written; other entries and their order stay.

    Raises:
        ScaffoldError: a name that is registered already, or is no model name; a file that cannot
            be written.
        RegistryError, ExternalModelConflictError: the file that stands there is itself at fault.
    """
    file = directory / REGISTRY_FILE
    if problem := name_problem(name):
        raise ScaffoldError(f"Cannot register a model in {file}: {problem}")
    registry = read_registry(file)
    if registry is not None and name in registry.entries:
        raise ScaffoldError(
            f"'{name}' is registered already: {registry.where(name)} gives it the path "
            f"'{registry.entries[name]}'. Choose another name, or remove that line first."
        )
    entries = {**(registry.entries if registry is not None else {}), name: path}
    try:
        # A registry that is a symbolic link stays one: the file it leads to is what is replaced.
        target = Path(os.path.realpath(file))
        write_text(target, json.dumps(entries, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ScaffoldError(
            f"Cannot write {file}: {error.strerror or error}. '{name}' is not registered: make the "
            f'directory writable, or add the entry "{name}": "{path}" by hand.'
        ) from error


def name_problem(name: str) -> str | None:
    """What keeps ``name`` from being a model's name; None if nothing does."""
    if not name.isidentifier() or keyword.iskeyword(name):
        return (
            f"{name!r} cannot be a model's name. Expected a Python identifier that is no keyword "
            "(letters, digits and underscores, no digit first), such as 'my_model'."
        )
    if name in sys.stdlib_module_names or name == "test":  # which that set leaves out
        return (
            f"{name!r} cannot be a model's name: `import {name}` finds a module of Python's "
            "standard library. Choose another name."
        )
    if name in NEEDED_PACKAGES.split():
        return (
            f"{name!r} cannot be a model's name: `import {name}` has to find the package of that name, which xLM "
            "needs itself. Choose another name."
        )
    return None


def read_text(file: Path) -> str | None:
    """The text of a UTF-8 file without its byte order mark; None if there is no such file.

    Raises:
        RegistryError: the file cannot be read, or is no UTF-8 (file and line).
    """
    try:
        if not (stat.S_ISREG(mode := os.stat(file).st_mode) or stat.S_ISDIR(mode)):  # a pipe would be waited for
            raise RegistryError(f"Cannot read {file}: it is no file of text. Expected a readable UTF-8 file.")
        raw = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RegistryError(
            f"Cannot read {file}: {error.strerror or error}. Expected a readable UTF-8 file."
        ) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RegistryError(
            f"{file}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8. Save the file as UTF-8."
        ) from error


def _check_entries(registry: Registry, pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, path in pairs:
        if name in seen:
            lines = " and ".join(str(line) for line in _key_lines(registry.text, name))
            raise ExternalModelConflictError(
                f"Duplicate model name: {name} stands twice in {registry.file}, lines {lines}.\n"
                "Remove one of the two, or give one model another name."
            )
        seen.add(name)
        if problem := name_problem(name):
            raise RegistryError(f"{registry.where(name)}: {problem}")
        if not isinstance(path, str) or not path or "\0" in path:
            found = json.dumps(path) if isinstance(path, str) else _json_type(path)
            raise RegistryError(
                f"{registry.where(name)}: the path of '{name}' is {found}. Expected a string: the "
                f"model's directory, absolute or relative to {registry.file.parent}."
            )


def _key_lines(text: str, name: str) -> list[int]:
    """The lines, from 1, on which ``name`` is a key in ``text``, which is valid JSON."""
    return [
        text.count("\n", 0, match.start()) + 1
        for match in _JSON_STRING.finditer(text)
        if match[2] and json.loads(match[1]) == name
    ]


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
