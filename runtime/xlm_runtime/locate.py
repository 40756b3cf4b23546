"""Import what a dotted path of a configuration names; the error says what is near and what to try."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import shlex
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from xlm_runtime.discovery import discover
from xlm_runtime.errors import ComponentError, did_you_mean


def locate(path: str, where: str) -> Any:
    """The class or function at ``path``: ``package.module.Name``, also ``package.module.Class.method``.

    Args:
        path: the dotted path.
        where: what names it, for the message: ``config key 'model._target_'``.

    Raises:
        ComponentError: it cannot be imported, is not there, or cannot be called. Holds the import error's own text,
            and file and line if the error was raised by a file that exists.
    """
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ComponentError(
            f"Cannot import '{path}' ({where}): it is no dotted path. Expected package.module.Name, "
            "such as 'my_model.model_my_model.MyModel'."
        )
    module_name, attribute = ".".join(parts[:-1]), parts[-1]
    try:
        module, rest = _import(parts)
    except (Exception, SystemExit) as error:  # a module that exits as it is imported would end this silently
        raise ComponentError(
            f"Cannot import '{path}' ({where}): {_text(error)}{_place(error)}\n"
            f"{_hint(error, parts[0])}"
            f'Try it by itself: {_environment(parts[0])}python -c "from {module_name} import {attribute}"'
        ) from error
    found: Any = module
    for name in rest:
        if not hasattr(found, name) and isinstance(found, ModuleType) and _has_submodule(found, name):
            found = importlib.import_module(f"{found.__name__}.{name}")
            continue
        if not hasattr(found, name):
            raise ComponentError(
                f"Cannot import '{path}' ({where}): {path.rpartition('.' + name)[0]} has no '{name}'. "
                f"{did_you_mean(name, dir(found))}\nThe module's file is {module.__file__}."
            )
        found = getattr(found, name)
    if not callable(found):
        if isinstance(found, ModuleType):
            raise ComponentError(
                f"'{path}' ({where}) is a module; expected a class or a function in it: {path}.<Name>."
            )
        raise ComponentError(f"'{path}' ({where}) is a {type(found).__name__}; expected a class or a function.")
    return found


def _has_submodule(module: ModuleType, name: str) -> bool:
    return hasattr(module, "__path__") and importlib.util.find_spec(f"{module.__name__}.{name}") is not None


def _import(parts: list[str]) -> tuple[ModuleType, list[str]]:
    """The longest part of the path that is a module, and the attributes that are left."""
    missing: ModuleNotFoundError | None = None
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name or length == 1:
                raise
            missing = missing or error  # perhaps the name before the last is a class
            continue
        if missing is not None and not hasattr(module, parts[length]):
            raise missing
        return module, parts[length:]
    raise AssertionError("a path has at least one part before its last")


def _hint(error: BaseException, package: str) -> str:
    """What is near the module that is missing; empty for any other error."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    if error.name == package:
        models = discover().models
        return (
            f"Models discovered: {', '.join(models) or 'none'}. {did_you_mean(package, models)}\n"
            "A model's package can be imported if xlm_models.json or XLM_MODELS_PACKAGES names the model.\n"
        )
    parent, _, name = error.name.rpartition(".")
    if not error.name.startswith(f"{package}.") or parent not in sys.modules:
        return ""
    modules = [module.name for module in pkgutil.iter_modules(getattr(sys.modules[parent], "__path__", []))]
    return f"Modules in '{parent}': {', '.join(modules) or 'none'}. {did_you_mean(name, modules)}\n"


def _environment(package: str) -> str:
    # Discovery puts a model's root on sys.path; a plain `python -c` needs to be told.
    spec = importlib.util.find_spec(package) if package not in sys.modules else sys.modules[package].__spec__
    if spec is None or not spec.origin:
        return ""
    roots = {model.import_root for model in discover().models.values() if not model.is_installed}
    root = Path(spec.origin).parent.parent
    return f"PYTHONPATH={shlex.quote(str(root))} " if root in roots else ""


def _text(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    text = str(error).strip()
    return text if isinstance(error, ImportError) and text else f"{type(error).__name__}: {text}"


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"\n  {error.filename}, line {error.lineno}: {(error.text or '').strip()}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen importlib")
    ]
    return f"\n  {frames[-1].filename}, line {frames[-1].lineno}: {frames[-1].line}" if frames else ""
