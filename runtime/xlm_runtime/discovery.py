"""Discovery: which model repositories there are, and where.

Searched, in this order: ``./xlm_models.json``, ``./xlm-models/xlm_models.json``,
``./reference-models/xlm_models.json``, each directory of ``XLM_MODELS_PATH``, the packages named
in ``XLM_MODELS_PACKAGES``, and the entry points of group ``xlm.models``. Files are read and no
model code is imported. A model found twice is one model, and the first source stands; one name for
two models is an error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from xlm_runtime.errors import (
    DiscoveryError,
    ExternalModelConflictError,
    ModelNotFoundError,
    RegistryError,
    did_you_mean,
)
from xlm_runtime.model_package import (
    CORE_MODELS,
    INSTALLED,
    PACKAGES_VARIABLE,
    ModelPackage,
    directory_problem,
    from_directory,
    from_installed,
    import_origin,
)
from xlm_runtime.registry import REGISTRY_FILE, read_registry, register

__all__ = ["CORE_MODELS", "Discovery", "ModelPackage", "activate", "current_directory", "discover", "known", "register"]

PATH_VARIABLE = "XLM_MODELS_PATH"
ENTRY_POINT_GROUP = "xlm.models"

_LOCAL_DIRECTORIES = (".", "./xlm-models", "./reference-models")


@dataclass(frozen=True)
class Discovery:
    """All discovered models by name, sorted, and the places searched, found or not, in words."""

    models: dict[str, ModelPackage]
    searched: list[str]
    cwd: Path = Path()

    def get(self, name: str) -> ModelPackage:
        """The model of that name.

        Raises:
            ModelNotFoundError: says which names are near, what was searched, what to do.
        """
        if name in self.models:
            return self.models[name]
        near = did_you_mean(name, self.models)
        places = "\n".join(f"  {place}" for place in self.searched)
        raise ModelNotFoundError(
            f"No module named '{name}': no registry knows a model of that name. {near}\n"
            f"Models found: {', '.join(self.models) or 'none'}.\n"
            f"Searched (. is {self.cwd}):\n{places}\n"
            f'To register it, write {{"{name}": "path/to/{name}"}} into ./{REGISTRY_FILE}, or name '
            f"the directory of such a file in {PATH_VARIABLE}, or `pip install` the model and name "
            f"its package in {PACKAGES_VARIABLE}."
        )


_known: Discovery | None = None


@contextmanager
def known(found: Discovery | None) -> Iterator[None]:
    """Let ``discover()`` answer with this meanwhile: many parts of a command ask, and each search reads what is said of
    every installed package. None: let it search again, for code that may change what there is.
    """
    global _known
    before, _known = _known, found
    try:
        yield
    finally:
        _known = before


def discover(cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> Discovery:
    """Search every place; within ``known``, none.

    Args:
        cwd: what relative places are relative to; the current directory if None.
        environ: where the two variables are looked up; the process's environment if None.

    Raises:
        RegistryError: a registry, variable or entry point that cannot be read or leads nowhere.
        ModelLayoutError: it leads to a directory without package, ``__init__.py`` or configs.
        ExternalModelConflictError: one name for two models, or twice in one file.
    """
    if _known is not None and cwd is None and environ is None:
        return _known
    cwd = Path(os.path.abspath(cwd or current_directory()))
    environ = os.environ if environ is None else environ
    searched: list[str] = []
    models: dict[str, ModelPackage] = {}
    for search in (
        _search_directories(cwd, environ.get(PATH_VARIABLE, ""), searched),
        _search_packages(environ.get(PACKAGES_VARIABLE, ""), searched),
        _search_entry_points(searched),
    ):
        for model in search:
            first = models.setdefault(model.name, model)
            if first is not model and not os.path.samefile(first.package_dir, model.package_dir):
                raise _conflict(first, model)
    return Discovery(dict(sorted(models.items())), searched, cwd)


def activate(models: Mapping[str, ModelPackage]) -> None:
    """Make ``import <package>`` find what discovery found, for each of ``models``.

    The import roots of directories go to the front of ``sys.path``, once. An installed package is
    importable as it is; its directory goes there only where something else of its name, such as a
    repository in the current directory, hides it.

    Raises:
        ExternalModelConflictError: another package of that name is imported already, or stands
            beside one of the other models.
    """
    roots = dict.fromkeys(
        str(model.import_root) for model in models.values() if not (model.is_installed and _is_importable(model))
    )
    sys.path[:] = [*roots, *(place for place in sys.path if place not in roots)]
    invalidate_caches()  # a package may be younger than Python's listing of its directory
    # To ask Python where it would import each of n packages from costs n searches of n directories;
    # only what the first directory with such a name does not answer is worth it.
    holders = {name.partition(".")[0]: root for root in reversed(roots) for name in os.listdir(root)}
    for model in models.values():
        package = model.package_dir.name
        if package not in sys.modules and holders.get(package) == str(model.import_root):
            continue
        if not _is_importable(model):
            raise ExternalModelConflictError(
                f"Duplicate model name: {model.name} is {model.package_dir} ({model.source}), but "
                f"`import {package}` finds {import_origin(package) or 'nothing'} in this process.\n"
                "Rename one of the two, or start a process in which the other is not imported."
            )


def current_directory() -> Path:
    """Where the user stands. Raises DiscoveryError where that directory has been deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise DiscoveryError(
            "The current directory exists no longer: something has deleted it. Go to another: cd <directory>"
        ) from error


def _search_directories(cwd: Path, variable: str, searched: list[str]) -> Iterator[ModelPackage]:
    places = [(cwd / place, f"{place}/{REGISTRY_FILE}") for place in _LOCAL_DIRECTORIES]
    for entry in filter(str.strip, variable.split(os.pathsep)):
        directory = Path(os.path.abspath(cwd / entry))
        places.append((directory, f"{PATH_VARIABLE}: {directory / REGISTRY_FILE}"))
    for position, (directory, source) in enumerate(places):
        searched.append(source)
        registry = read_registry(directory / REGISTRY_FILE)
        if registry is not None:
            for name, path in registry.entries.items():
                yield from_directory(name, path, registry, source)
        elif position >= len(_LOCAL_DIRECTORIES):
            raise _no_registry(directory)
    if len(places) == len(_LOCAL_DIRECTORIES):
        searched.append(f"{PATH_VARIABLE} (not set)")


def _search_packages(variable: str, searched: list[str]) -> Iterator[ModelPackage]:
    packages = [entry.strip() for entry in variable.split(os.pathsep) if entry.strip()]
    searched.append(f"{PACKAGES_VARIABLE}: {', '.join(packages) or '(not set)'}")
    for package in packages:
        if "," in package:
            raise RegistryError(
                f"{PACKAGES_VARIABLE} is '{variable}'; expected names of packages, separated by '{os.pathsep}'."
            )
        yield from_installed(
            package,
            package,
            PACKAGES_VARIABLE,
            f"{PACKAGES_VARIABLE} names '{package}'",
            f"`pip install` it into the environment {sys.prefix}, or take it out of {PACKAGES_VARIABLE}",
        )


def _search_entry_points(searched: list[str]) -> Iterator[ModelPackage]:
    searched.append(f"entry points of group {ENTRY_POINT_GROUP} (installed packages)")
    for point in entry_points(group=ENTRY_POINT_GROUP):
        yield from_installed(point.name, point.value, INSTALLED, *_blame(point))


def _blame(point: EntryPoint) -> tuple[str, str]:
    """Which distribution declares the entry point, and how to be rid of it."""
    entry = f"declares the entry point '{point.name} = {point.value}' of group {ENTRY_POINT_GROUP}"
    if point.dist is None or "Name" not in point.dist.metadata:  # an interrupted uninstall's rest
        place = f" in {point.dist.locate_file('')}" if point.dist else ""
        return f"a nameless distribution{place} {entry}", "delete its .dist-info directory"
    name = point.dist.name
    return (
        f"the installed distribution {name} {point.dist.version} {entry}",
        f"install {name} again from where it is now, or remove it: `pip uninstall {name}`",
    )


def _is_importable(model: ModelPackage) -> bool:
    origin = import_origin(model.package_dir.name)
    expected = model.package_dir / "__init__.py"
    return origin is not None and os.path.realpath(origin) == os.path.realpath(expected)


def _no_registry(directory: Path) -> RegistryError:
    if problem := directory_problem(directory):
        return RegistryError(
            f"{PATH_VARIABLE} names {directory}, which {problem}. Expected directories with an "
            f"{REGISTRY_FILE} in each, separated by '{os.pathsep}'. Correct or remove the entry."
        )
    return RegistryError(
        f"{PATH_VARIABLE} names {directory}, which has no {REGISTRY_FILE}.\nCreate "
        f'{directory / REGISTRY_FILE} with {{"my_model": "path/to/my_model"}}, or remove the entry.'
    )


def _conflict(first: ModelPackage, second: ModelPackage) -> ExternalModelConflictError:
    lines = [f"Duplicate model name: {first.name} names two different models:"]
    lines += [f"  {model.root} ({model.source})" for model in (first, second)]
    if first.is_core:
        lines.append(f"'{first.name}' is a core model of xLM: call a model of your own otherwise.")
    other = second.is_installed and not first.is_installed
    if other:
        lines.append(f"If both are one repository: pip install --editable {first.root}")
    lines.append(f"{'Otherwise rename' if other else 'Rename'} one of the two, or remove it from where it was found.")
    return ExternalModelConflictError("\n".join(lines))
