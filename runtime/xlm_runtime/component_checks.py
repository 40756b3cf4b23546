"""What is looked at before and after a component is made: its arguments, and the methods of its contract."""

from __future__ import annotations

import inspect
import re
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig

from xlm_runtime.config_groups import RUNTIME_DIRECTORY
from xlm_runtime.config_source import key_pattern, written_in
from xlm_runtime.contracts import call_problem, call_problems, missing_methods
from xlm_runtime.errors import ComponentError, ContractError, UnknownKeyError, did_you_mean

T = TypeVar("T")


def check_arguments(target: Any, key: str, configured: set[str], built: set[str], *, partial: bool) -> None:
    """Compare the arguments that a component is about to get with those it takes.

    Args:
        target: the class or function.
        key: the config key of its node.
        configured: names that the node gives.
        built: names of the parts that the runtime gives.
        partial: whether further arguments come later.

    Raises:
        UnknownKeyError: the config gives an argument that the target does not take.
        ContractError: the runtime gives one that the target does not take.
        ComponentError: one is missing.
    """
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # some C functions have no signature
        return
    by_keyword = {name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    name = f"{target.__module__}.{target.__qualname__}"
    if not takes_any and (unknown := sorted(configured - by_keyword)):
        lines = [
            f"{name} takes no argument '{unknown[0]}' (config key '{key}.{unknown[0]}'). "
            f"{did_you_mean(unknown[0], by_keyword)}",
            _of_the_runtime(key, unknown[0]) or written_in(key_pattern(unknown[0])),
            f"It takes: {', '.join(sorted(by_keyword - built))}.",
        ]
        raise UnknownKeyError("\n".join(filter(None, lines)))
    if not takes_any and (unknown := sorted(built - by_keyword)):
        raise ContractError(
            f"{name} (config key '{key}') takes no argument '{unknown[0]}', which the runtime gives it. "
            f"Its __init__ takes the keywords {', '.join(sorted(built))}, besides those of its config."
        )
    given = configured | built
    needed = [n for n in by_keyword if parameters[n].default is inspect.Parameter.empty and n not in given]
    if needed and not partial:
        raise ComponentError(
            f"{name} needs the argument{'s' * (len(needed) > 1)} {', '.join(sorted(needed))}: set "
            f"{', '.join(f'{key}.{n}' for n in sorted(needed))} in its config."
        )


def _of_the_runtime(key: str, argument: str) -> str:
    """What to do about an argument that the runtime's own file of a group gives, to another target; else empty."""
    group = key.partition(".")[0]
    choice = HydraConfig.get().runtime.choices.get(group) if HydraConfig.initialized() else None
    file = RUNTIME_DIRECTORY / group / f"{choice}.yaml"
    if not file.is_file() or not re.search(key_pattern(argument), file.read_text(encoding="utf-8"), re.MULTILINE):
        return ""
    return (
        f"It comes from the runtime's {group}={choice}. For another _target_, write configs/{group}/<name>.yaml in "
        f"your model, and choose it: {group}=<name>, or in an experiment 'override /{group}: <name>'."
    )


def check_contract(made: Any, kind: str, key: str, target: str) -> None:
    """Raise ContractError if ``made``, of ``target`` at the config key, lacks a method of its kind of part, or has one
    that cannot be called as the runtime calls it.
    """
    if missing := missing_methods(made, kind):
        raise ContractError(
            f"{target} (config key '{key}') lacks {', '.join(f'{name}()' for name in missing)}, which the contract of "
            f"a {kind} asks for. See xlm_runtime/contracts.py: a class that inherits from the protocol there gets "
            "the optional methods by default."
        )
    if problems := call_problems(made, kind):
        raise ContractError(
            f"{target} (config key '{key}') does not fit the contract of a {kind}: {'; '.join(problems)}. "
            "See xlm_runtime/contracts.py."
        )


def check_kind(made: T, kind: type, key: str) -> T:
    """``made``, of the config key. Raises ContractError if it is of another class than ``kind``."""
    if not isinstance(made, kind):
        raise ContractError(
            f"The config node '{key}' makes {type(made).__qualname__}; expected {kind.__module__.split('.')[0]} "
            f"{kind.__name__}. Correct its _target_."
        )
    return made


def check_command(function: Any, named: str) -> None:
    """Raise ContractError if a job's function cannot be called with the configuration alone."""
    if inspect.iscoroutinefunction(function):
        raise ContractError(f"{function.__qualname__} ({named}) is an async function, which nobody would await.")
    if problem := call_problem(function, ("cfg",)):
        raise ContractError(
            f"{getattr(function, '__qualname__', function)}{problem} ({named}). A job is a function of one argument, "
            "the resolved configuration: def main(cfg: DictConfig) -> None."
        )


def what_is_missing(text: str) -> str:
    """What to do about an interpolation that finds nothing, from the text of its exception; empty for any other."""
    missing = re.search(r"Interpolation key '([^']+)' not found", text)
    if missing is None:
        return ""
    if missing[1].startswith("dataset."):
        return (
            "Another dataset comes with collators of its own: choose both together, by experiment=<dataset>_<model> or "
            "datamodule=<dataset>_<model>, such as pydoc_mlm. text, lm1b, openwebtext and tinystories have one "
            "experiment for all: experiment=text_<model> dataset=lm1b."
        )
    return written_in(rf"\$\{{{re.escape(missing[1])}\b")


def raised(target: str, key: str, error: Exception, factory: Any) -> ComponentError:
    """What to say of a target that raised when it was called with the keywords of the partial ``factory``."""
    words = getattr(factory, "keywords", {}).items()
    given = ", ".join(f"{name}={value!r}" for name, value in words if isinstance(value, str | int | float | None))
    return ComponentError(
        f"{target}, made from the config node '{key}', raised {type(error).__name__}: {error}\n"
        + (f"It was given {given}. " if given else "")
        + "XLM_TRACEBACK=1 shows where."
    )


def error_text(error: BaseException) -> str:
    """An exception in words; an import error says enough without its name."""
    text = str(error).strip()
    return text if isinstance(error, ImportError) and text else f"{type(error).__name__}: {text}"
