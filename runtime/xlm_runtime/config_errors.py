"""Hydra's and OmegaConf's exceptions, said so that they can be mended."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import antlr4  # type: ignore[import-untyped]
import hydra
import omegaconf
import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from xlm_runtime.config_file import syntax_error
from xlm_runtime.config_groups import RUNTIME_DIRECTORY, config_roots, group_names
from xlm_runtime.config_source import written_in
from xlm_runtime.discovery import Discovery, discover
from xlm_runtime.errors import ConfigError, ConfigNotFoundError, UnknownKeyError, did_you_mean

#: Groups whose files a model brings: if one is missing, perhaps its model is.
_OF_MODELS = ("experiment", "model", "model_type", "datamodule", "collator")


def explain(error: Exception, overrides: Sequence[str], known_keys: Callable[[], Iterable[str]]) -> ConfigError:
    """The exception as one of ours.

    Args:
        error: from composing a configuration, or from reading one.
        overrides: the command line's words.
        known_keys: the dotted keys that may be overridden; called only for a key that may not.
    """
    text = str(error).strip()
    if isinstance(error, yaml.YAMLError):
        return syntax_error(error)
    if isinstance(error, RecursionError):
        return ConfigError(
            "The configuration cannot be composed: a config file begins with itself, or with one that begins with it. "
            "Look at the defaults list of what is chosen "
            f"({', '.join(word for word in overrides if override_key(word) in group_names()) or 'nothing'}), and of "
            "the files that it names."
        )
    if isinstance(error, OverrideParseException):
        return _malformed(error.override, text)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        asker = re.match(r"In '([^']+)'", text)
        return _missing_config(error.missing_cfg_file, error.options or (), asker[1] if asker else "", overrides)
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match.group(1)
        chosen = [word.partition("=")[2] for word in overrides if override_key(word) == key]
        if chosen and key in group_names():  # no model has a directory of that name: to Hydra it is no group
            return _missing_config(f"{key}/{chosen[-1]}", (), "", overrides)
        if not any(key in (override_key(word), override_key(word).partition("@")[0]) for word in overrides):
            return _unknown_group(key, text)
        return _unknown_key(key, list(known_keys()))
    if match := re.match(r"Could not delete from config\. '([^']+)' does not exist", text):
        return _unknown_key(match[1], list(known_keys()))
    if match := re.search(r"Multiple values for (\S+)\. To override a value use 'override [^:]+: (\S+)'", text):
        return _chosen_twice(match[1], match[2], overrides)
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and str(cause).strip() not in text:
        text = f"{text}\n{str(cause).strip()}"
    if match := re.search(r"\s*full_key: (\S+)", text):
        return _unreadable_value(match[1], text[: match.start()].strip().replace("\n", ": "))
    if text.startswith("Config group override must be"):
        return _no_choice(overrides)
    return ConfigError(f"The configuration cannot be composed.\n{text}")


def asked_for(error: Exception) -> str:
    """The line of a model's code that asked the configuration for what it does not have; empty if none did."""
    libraries = [Path(module.__file__ or "").parent for module in (hydra, omegaconf, antlr4)]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(library) for library in libraries)
    ]
    if not frames or Path(frames[-1].filename).is_relative_to(RUNTIME_DIRECTORY.parent):
        return ""
    return f"It is asked for in {frames[-1].filename}, line {frames[-1].lineno}: {frames[-1].line}"


def override_key(word: str) -> str:
    """The key of an override: ``+a.b=1`` -> ``a.b``."""
    return word.partition("=")[0].lstrip("+~")


def check_override(word: str, groups: Collection[str], job_types: Collection[str] = ()) -> None:
    """Refuse a word that is no override at all, and a group that is given something else than names.

    Args:
        word: of the command line.
        groups: the config groups.
        job_types: those that there are; one of them may stand where ``job_type=`` was left out.

    Raises:
        ConfigError: no ``=``, or nothing before it; a list of anything but names for a group.
    """
    if not word.startswith("~") and ("=" not in word or not override_key(word)):
        raise _malformed(word, "", job_types)
    value = word.partition("=")[2].strip()
    if value.startswith("[") and override_key(word).partition("@")[0] in groups:
        items = value.strip("[]").split(",")  # Hydra takes a list of names: experiment=[a,b]
        if not all(re.fullmatch(r"['\"]?[A-Za-z_][\w/.-]*['\"]?", item.strip()) for item in items):
            raise _no_choice([word])


def _malformed(word: str, text: str, job_types: Collection[str] = ()) -> ConfigError:
    lines = [f"Cannot read '{word}' on the command line: expected key=value."]
    if word in job_types:
        lines.append(f"Did you mean job_type={word}?")
    elif "=" not in word and word:
        keys = [*group_names(), "job_type", "job_name"]
        lines.append((word not in keys and did_you_mean(word, keys)) or f"Give it a value: {word}=...")
    elif text:
        lines.append("Close every bracket and quotation mark, and quote the word for the shell:")
        lines.append("'trainer={max_steps: 10}' \"job_name='a (b)'\"")
    return ConfigError("\n".join(lines))


def _missing_config(wanted: str, options: Sequence[str], asker: str, overrides: Sequence[str]) -> ConfigNotFoundError:
    group, _, name = wanted.rpartition("/")
    lines = [f"Could not find '{wanted}'" + (f" (asked for by '{asker}')." if asker not in ("", "config") else ".")]
    if group:
        lines.append(f"There is no file configs/{wanted}.yaml in any model, nor in the runtime.")
    misnamed = [file for root in config_roots() if (file := root / f"{wanted}.yml").is_file()]
    lines += [f"There is {file}: only files in .yaml are read; rename it." for file in misnamed]
    if group and not any(override_key(word).partition("@")[0] == group for word in overrides):
        lines.append(written_in(rf"^\s*-.*\b{re.escape(group)}(@\S+)?\s*:\s*['\"]?{re.escape(name)}['\"]?\s*(#.*)?$"))
    lines.append(did_you_mean(name, options))
    if group:
        lines.append(f"What exists in '{group}': {', '.join(options) or 'nothing'}.")
    found = discover()
    if (
        name
        and not misnamed
        and group in _OF_MODELS
        and not any(
            name == model or name.endswith(f"_{model}") or name.startswith(f"{model}_") for model in found.models
        )
    ):
        lines.append(_models_found(group, name, found))
    return ConfigNotFoundError("\n".join(filter(None, lines)))


def _models_found(group: str, name: str, found: Discovery) -> str:
    words = [name, *(name.split("_", position)[-1] for position in range(1, name.count("_") + 1))]
    near = next((hint for word in words if (hint := did_you_mean(word, found.models))), "")
    places = "\n".join(f"  {place}" for place in found.searched)
    # The specification's troubleshooting names a model that is not found so.
    first = f"No module named '{name}'" if group in ("model", "model_type") else f"No model is named in '{name}'"
    return (
        f"{first}: models discovered: {', '.join(found.models) or 'none'}. {near}\n"
        f"Searched (. is {found.cwd}):\n{places}\n"
        "Register a model in xlm_models.json, or install it with pip; `xlm` lists what is found."
    )


def _unknown_key(key: str, known: Sequence[str]) -> UnknownKeyError:
    if key in known:
        return UnknownKeyError(
            f"What is given for '{key}' holds keys that its config does not name. Check them; to add them, "
            f"write '+{key}=...'."
        )
    parent, _, leaf = key.rpartition(".")
    same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
    lines = [f"Unknown key '{key}' on the command line: no config declares it."]
    if same_leaf:
        lines.append(f"Did you mean {' or '.join(repr(name) for name in same_leaf[:3])}?")
    elif near := did_you_mean(key, [name for name in known if name.rpartition(".")[2] != "_target_"]):
        lines.append(near)
    if parent in known:
        lines.append(f"To give '{parent}' an argument that its config does not name, write '+{key}=...'.")
    return UnknownKeyError("\n".join(lines))


def _unknown_group(group: str, text: str) -> UnknownKeyError:
    asker = re.match(r"In '([^']+)'", text)
    if group in group_names():
        return UnknownKeyError(
            f"'{asker[1] if asker else 'A config file'}' overrides the group '{group}', which is chosen behind it. "
            f"Choose it on the command line: {group}=<name>."
        )
    lines = [
        f"Unknown group '{group}' in the defaults list of '{asker[1] if asker else 'a config file'}'.",
        written_in(rf"^\s*-\s*override\s+/?{re.escape(group)}\s*:"),
        did_you_mean(group, group_names()),
        f"Groups: {', '.join(group_names())}.",
    ]
    return UnknownKeyError("\n".join(filter(None, lines)))


def _chosen_twice(group: str, name: str, overrides: Sequence[str]) -> ConfigError:
    if f"+{group}={name}" in overrides:
        return ConfigError(f"The group '{group}' is there already: write {group}={name}, without the '+'.")
    lines = [
        f"The group '{group}' is chosen twice. In a defaults list, what is chosen already is changed by "
        f"'override /{group}: {name}'.",
        written_in(rf"^\s*-\s*/?{re.escape(group)}\s*:\s*['\"]?{re.escape(name)}\b"),
    ]
    return ConfigError("\n".join(filter(None, lines)))


def _unreadable_value(key: str, reason: str) -> ConfigError:
    lines = [f"The configuration's key '{key}' has no value: {reason}."]
    if match := re.search(r"[Ii]nterpolation key '([^']+)'", reason):
        lines.append(written_in(rf"\$\{{{re.escape(match[1])}\b"))
    return ConfigError("\n".join(filter(None, lines)))


def _no_choice(overrides: Sequence[str]) -> ConfigError:
    words = [word for word in overrides if override_key(word) in group_names()]
    return ConfigError(
        f"In {' '.join(words)}: a group takes the name of one of its files, which is no number and not null. "
        "To leave a group out, write '~' before its name."
    )


def check_choices(choices: Mapping[str, str | None]) -> None:
    """Refuse a choice that two files answer to, and a datamodule that does not exist.

    The primary configuration's own choice is optional, since not every model has one of that name. Hydra then takes
    every choice for optional, a mistyped one too.

    Args:
        choices: config groups and the options chosen, as Hydra reports them.

    Raises:
        ConfigNotFoundError: says which there are.
        ConfigError: names the files.
    """
    roots = {"xlm-runtime": RUNTIME_DIRECTORY, **{m.name: m.configs for m in discover().models.values()}}
    for group, option in choices.items():
        files = [root / f"{group.partition('@')[0]}/{option}.yaml" for root in roots.values()] if option else []
        found = [file for file in files if file.is_file()]
        if len(found) > 1:
            raise ConfigError(
                f"'{option}' of the group '{group}' is in several places, and only one of them would be read:\n"
                + "\n".join(f"  {file}" for file in found)
                + "\nRename all but one; a name that ends in the model's, such as star_easy_my_model, is its own."
            )
    name = choices.get("datamodule")
    if not name or name == f"star_easy_{choices.get('model_type')}":
        return
    options = sorted(file.stem for root in roots.values() for file in (root / "datamodule").glob("*.yaml"))
    if name not in options:
        raise _missing_config(f"datamodule/{name}", options, "", ())
