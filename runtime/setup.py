"""Carries the Copier template inside the wheel and the sdist, so that `xlm-scaffold` needs no network.

Everything else of the build is in pyproject.toml. In a checkout the template stands beside this directory;
in an unpacked sdist it already stands at xlm_runtime/_template.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
CARRIED = ("copier.yml", "template", "reference-models", "runtime/xlm_runtime/VERSION")
SKIPPED = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "runs", ".*_cache", ".git", ".venv")


def carry(package: Path) -> None:
    target = package / "_template"
    if (HERE.parent / "copier.yml").is_file():
        shutil.rmtree(target, ignore_errors=True)
        for name in CARRIED:
            source = HERE.parent / name
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=SKIPPED)
            else:
                shutil.copy2(source, target / name)
    elif (HERE / "xlm_runtime" / "_template").is_dir():
        shutil.copytree(HERE / "xlm_runtime" / "_template", target, dirs_exist_ok=True)


class BuildWithTemplate(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            carry(Path(self.build_lib) / "xlm_runtime")


class SdistWithTemplate(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        carry(Path(base_dir) / "xlm_runtime")


setup(cmdclass={"build_py": BuildWithTemplate, "sdist": SdistWithTemplate})
