"""A model's repository on disk: its two layouts, and an installed package, found and not imported.

Nested layout: the package is ``root/<name>/``. Flat layout: the package is ``root`` itself. Both
have ``root/configs/``.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path

from xlm_runtime.commands import Commands
from xlm_runtime.errors import ModelLayoutError, RegistryError
from xlm_runtime.registry import Registry, name_problem

CORE_MODELS = ("arlm", "mlm", "ilm", "mdlm")
PACKAGES_VARIABLE = "XLM_MODELS_PACKAGES"
INSTALLED = "installed package"

_SITE_DIRECTORIES = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class ModelPackage:
    """One discovered model. Paths are absolute.

    Attributes:
        name: the model's name, under which configs and the command line know it.
        root: the repository; for an installed package, the directory that holds its ``configs/``.
        package_dir: the Python package, the directory of ``__init__.py``.
        configs: what joins Hydra's search path: ``root/configs/lightning_train`` if it exists,
            else ``root/configs``.
        commands: job types of the model's own, name → dotted path of a function. Read from
            ``commands.yaml`` at the first look, which raises RegistryError for a bad file.
        source: where the model was found, for people: ``./xlm_models.json`` and the like.
    """

    name: str
    root: Path
    package_dir: Path
    configs: Path
    commands: Mapping[str, str] = field(compare=False)
    source: str

    @property
    def import_root(self) -> Path:
        """The directory that must be on ``sys.path`` for the model's package to be importable."""
        return self.package_dir.parent

    @property
    def is_core(self) -> bool:
        """Whether the name is that of a model that xLM itself brings."""
        return self.name in CORE_MODELS

    @property
    def is_installed(self) -> bool:
        """Whether the model was found as an installed package, not by a directory's registry."""
        return self.source in (PACKAGES_VARIABLE, INSTALLED)

    def experiments(self) -> list[str]:
        """The names that ``experiment=`` takes from this model, sorted."""
        directory = self.configs / "experiment"
        if os.path.isdir(directory):
            check_readable(directory, f"the model '{self.name}'")
        files = directory.glob("*.yaml")
        return sorted(file.stem for file in files if not file.name.startswith(".") and file.is_file())


def from_directory(name: str, path: str, registry: Registry, source: str) -> ModelPackage:
    """The model of one entry of a registry.

    Raises:
        RegistryError: the path is no directory.
        ModelLayoutError: the directory lacks the package, its ``__init__.py`` or the configs.
    """
    joined = os.path.join(registry.file.parent, path)
    root = Path(os.path.abspath(joined))
    if ".." in path and os.path.realpath(root) != os.path.realpath(joined):
        root = Path(os.path.realpath(joined))  # '..' behind a link leads out of the link's target
    if problem := directory_problem(root):
        shown = (path, str(root)) if len(path) < 1000 else (f"{path[:60]}...", "it")
        raise RegistryError(
            f"{registry.where(name)}: the path of '{name}' is '{shown[0]}', but {shown[1]} {problem}.\n"
            f"Correct the path (it is relative to {registry.file.parent}), or remove the entry."
        )
    check_readable(root, registry.where(name))
    if os.path.isdir(root / name):
        check_readable(root / name, registry.where(name))
    package_dir = _package_dir(root, name, lambda: registry.where(name))
    if not os.path.isdir(root / "configs"):
        raise ModelLayoutError(
            f"{registry.where(name)}: the model '{name}' has no configs: there is no directory "
            f"{root / 'configs'}.\nCreate it, with the model's model/, model_type/, datamodule/ "
            "and experiment/ in it."
        )
    check_readable(root / "configs", registry.where(name))
    return _model(name, root, package_dir, source)


def directory_problem(path: Path) -> str:
    """Why a path leads to no directory, for a message: "does not exist"; empty if it leads to one."""
    try:
        return "" if stat.S_ISDIR(os.stat(path).st_mode) else "is not a directory"
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except OSError as error:  # no permission on the way, a name that is too long, links that go round
        return f"cannot be reached: {error.strerror}"


def check_readable(directory: Path, where: str) -> None:
    """Refuse a directory that may not be looked into.

    Raises:
        ModelLayoutError: names it, and ``where``, who leads there.
    """
    if not os.access(directory, os.R_OK | os.X_OK):
        raise ModelLayoutError(
            f"{where}: {directory} cannot be read: Permission denied.\nGive yourself the right to: "
            f"chmod u+rx {shlex.quote(str(directory))}"
        )


def from_installed(name: str, package: str, source: str, where: str, remedy: str) -> ModelPackage:
    """The model in an importable package, which is located and not imported.

    Args:
        where: who asks for the package, the first half of an error's sentence.
        remedy: what to do when there is no such package, an imperative.

    Raises:
        RegistryError: no package of that name can be imported, or the name is none.
        ModelLayoutError: it is a module or lacks ``__init__.py``; its configs are not with it.
    """
    if problem := name_problem(name):
        raise RegistryError(f"{where}: {problem}")
    if not package.isidentifier():
        raise RegistryError(f"{where}: '{package}' is not the name of a top-level package. To mend it, {remedy}.")
    spec = _find(package)
    if spec is None:
        raise RegistryError(f"No module named '{package}': {where}. To mend it, {remedy}.")
    if spec.origin is None or os.path.basename(spec.origin) != "__init__.py":
        raise ModelLayoutError(
            f"{where}, but what is found is no package with an __init__.py: {_place(spec)}.\n"
            f"Create {package}/__init__.py, or {remedy}."
        )
    package_dir = Path(spec.origin).parent
    if os.path.isdir(package_dir / "configs"):
        return _model(name, package_dir, package_dir, source)
    # Beside the package stand the configs of an editable install; in site-packages, a stranger's.
    beside = package_dir.parent / "configs"
    if package_dir.parent.name not in _SITE_DIRECTORIES and os.path.isdir(beside):
        return _model(name, package_dir.parent, package_dir, source)
    raise ModelLayoutError(
        f"{where}, but {package_dir} was installed without configs: there is no directory "
        f"{package_dir / 'configs'}, nor, as for an editable install, a configs beside it.\n"
        f'Give setup.py package_data={{"{package}": ["configs/**/*.yaml"]}} and install it again.'
    )


def import_origin(package: str) -> str | None:
    """What ``import package`` would find: a file, or directories without one; None: nothing."""
    spec = _spec(package)
    return None if spec is None else _place(spec)


def _package_dir(root: Path, name: str, where: Callable[[], str]) -> Path:
    nested = root / name
    if os.path.isfile(nested / "__init__.py"):
        return nested
    flat = os.path.isfile(root / "__init__.py")
    if flat and root.name == name:
        return root
    if nested.is_dir():
        problem = f"{nested} has no __init__.py.\nCreate that file; it may be empty."
    elif flat:
        problem = (
            f"{root} is itself a package, but called '{root.name}', and there is no {nested}.\n"
            f"Call the directory '{name}', or register it as '{root.name}'."
        )
    else:
        problem = (
            f"{root} has no package '{name}': neither {nested / '__init__.py'} exists nor, for a "
            f"repository that is itself the package, {root / '__init__.py'}.\n"
            "Create the package, or correct the entry's name or path."
        )
    raise ModelLayoutError(f"{where()}: {problem}")


def _model(name: str, root: Path, package_dir: Path, source: str) -> ModelPackage:
    configs = root / "configs"
    inner = configs / "lightning_train"  # the specification's paths; commands stand in either
    search_root = inner if os.path.isdir(inner) else configs
    files = dict.fromkeys((configs / "commands.yaml", search_root / "commands.yaml"))
    return ModelPackage(name, root, package_dir, search_root, Commands(*files), source)


def _find(package: str) -> ModuleSpec | None:
    spec = _spec(package)
    if spec is None or spec.origin is not None:
        return spec
    # Python's path finder takes any directory of that name, a repository in the current directory
    # too, for a namespace package, and so hides an editable install, whose finder comes later.
    for finder in sys.meta_path:
        found = finder.find_spec(package, None)
        if found is not None and found.origin is not None:
            return found
    return spec


def _spec(package: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(package)
    except ValueError:  # already imported, by something that gave it no spec
        return None


def _place(spec: ModuleSpec) -> str:
    return spec.origin or ", ".join(spec.submodule_search_locations or ())
