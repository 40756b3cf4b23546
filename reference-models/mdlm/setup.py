"""What pyproject.toml cannot say: what to depend on, and where the configs go when this is installed."""

import re
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

from setuptools import find_packages, setup

NAME = "mdlm"
HERE = Path(__file__).resolve().parent


def runtime() -> str:
    """The requirement of requirements/xlm.txt; only its version where that very version is installed already.

    pip fetches a requirement that has an address each time, whatever is installed: `pip install --editable .` would
    then need a network for a runtime that is there. The target environment is asked by its paths, because pip
    builds in an isolated one that does not see it.
    """
    pin = (HERE / "requirements" / "xlm.txt").read_text(encoding="utf-8").strip()
    version = re.search(r"(?:==|@v)(\d[^#\s]*)", pin)
    paths = [*sys.path, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    installed = {found.version for found in distributions(name="xlm-runtime", path=paths)}
    return f"xlm-runtime=={version[1]}" if version and version[1] in installed else pin


def own() -> list[str]:
    """The requirements of requirements/own.txt, if it is there: the model's own, which no update touches."""
    file = HERE / "requirements" / "own.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def config_packages() -> list[str]:
    """configs/ and all directories in it, as packages: setuptools wants each directory with data to be one."""
    root = HERE / "configs"
    directories = [root, *sorted(path for path in root.rglob("*") if path.is_dir() and path.name != "__pycache__")]
    return [".".join((NAME, "configs", *path.relative_to(root).parts)) for path in directories]


setup(
    install_requires=[runtime(), *own()],
    # In a wheel, configs/ stands within the package: a model is found together with its configs.
    packages=[*find_packages(str(HERE), include=[NAME, f"{NAME}.*"]), *config_packages()],
    package_dir={NAME: NAME, f"{NAME}.configs": "configs"},
    package_data={package: ["*.yaml"] for package in config_packages()},
)
