"""A rendered repository, installed with pip as a wheel and editable: `xlm` finds it from anywhere and composes it."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path

import pytest
import warm
from rendering import LONG_NAME, QUESTIONS, SHORT_NAME, STARTING_POINTS, files_of, succeed

from xlm_runtime import __version__

Make = Callable[..., Path]
#: pip with what is here: nothing is downloaded.
OFFLINE = ("--no-index", "--no-build-isolation", "--quiet", "--disable-pip-version-check")


def environment(directory: Path) -> Path:
    """A fresh virtual environment's Python, which also sees what is installed in this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    python = directory / "bin" / "python"
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    here = sysconfig.get_path("purelib")
    (site / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n", encoding="utf-8")
    return python


def pip(python: Path, *words: str) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", *OFFLINE, *words]
    succeed(command, python.parent)


def wheel_of(source: Path, directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", *OFFLINE, "--no-deps", "--wheel-dir", str(directory), str(source)]
    succeed(command, directory)
    (wheel,) = directory.glob("*.whl")
    return wheel


def requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    return [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]


@pytest.mark.parametrize("length", [len(SHORT_NAME), len(LONG_NAME)])
@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_installed_models_are_found_and_compose(
    make: Make, tmp_path: Path, server: str, length: int, editable: bool
) -> None:
    """One of each starting point, side by side; the last letter tells them apart."""
    base = {len(SHORT_NAME): SHORT_NAME, len(LONG_NAME): LONG_NAME}[length]
    points = {base[:-1] + letter: point for letter, point in zip("vwxyz", STARTING_POINTS, strict=True)}
    projects = {name: make(name, starting_point=point) for name, point in points.items()}
    python = environment(tmp_path / "environment")
    # Dependencies are not left out: the runtime that is here must satisfy the pin.
    pip(python, *(word for project in projects.values() for word in (["--editable"] * editable + [str(project)])))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    listed = succeed([str(python), "-m", "xlm_runtime.cli"], elsewhere)
    quick = tmp_path / "python"  # as the environment's, but that it imports no library anew
    warm.install_python(quick, python, server)
    printed = succeed(
        [str(python), "-c", "".join(f"import {name}; print({name}.__file__)\n" for name in points)], elsewhere
    )
    for (name, project), imported in zip(projects.items(), printed.splitlines(), strict=True):
        root = project if editable else next(python.parent.parent.glob(f"lib/*/site-packages/{name}"))
        assert f"  {name}  (installed package: {root})" in listed
        words = ["--cfg", "job", f"experiment=star_easy_{name}"]
        composed = succeed([str(quick), "-m", "xlm_runtime.cli", *words], elsewhere)
        prefix = "".join(word.capitalize() for word in name.split("_"))
        assert f"_target_: {name}.model_{name}.{prefix}Model" in composed
        assert os.path.samefile(imported, (project if editable else root.parent) / name / "__init__.py")


def test_a_wheel_carries_every_config(make: Make, tmp_path: Path) -> None:
    project = make("my_model", starting_point="arlm")
    with zipfile.ZipFile(wheel_of(project, tmp_path)) as archive:
        carried = {file for file in archive.namelist() if ".dist-info/" not in file}
    expected = {
        file if file.startswith("my_model/") else f"my_model/{file}"
        for file in files_of(project)
        if file.startswith(("my_model/", "configs/"))
    }
    assert carried == expected
    assert len(expected) > len(QUESTIONS["points"]["default"]["arlm"]["configs"])


def test_an_sdist_makes_the_same_wheel(make: Make, tmp_path: Path) -> None:
    project = make("my_model", starting_point="arlm")
    (tmp_path / "direct").mkdir()
    (tmp_path / "through_sdist").mkdir()
    direct = wheel_of(project, tmp_path / "direct")
    command = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    succeed([sys.executable, "-c", command], project)
    (sdist,) = (project / "dist").glob("*.tar.gz")
    with zipfile.ZipFile(direct) as first, zipfile.ZipFile(wheel_of(sdist, tmp_path / "through_sdist")) as second:
        assert {file: first.getinfo(file).CRC for file in first.namelist() if not file.endswith("/RECORD")} == {
            file: second.getinfo(file).CRC for file in second.namelist() if not file.endswith("/RECORD")
        }


@pytest.mark.parametrize("source", ["git", "index"])
def test_a_runtime_that_is_installed_is_not_fetched_again(make: Make, tmp_path: Path, source: str) -> None:
    project = make("my_model", runtime_source=source)
    assert requirements(wheel_of(project, tmp_path)) == [f"xlm-runtime=={__version__}"]


@pytest.mark.parametrize(
    "pin",
    [
        "xlm-runtime @ git+https://github.com/org/xlm-template@v9.9.9#subdirectory=runtime",
        "xlm-runtime @ git+https://github.com/org/xlm-template@main#subdirectory=runtime",
        "xlm-runtime==9.9.9",
    ],
)
def test_any_other_pin_stands_as_it_is(make: Make, tmp_path: Path, pin: str) -> None:
    project = make("my_model")
    (project / "requirements/xlm.txt").write_text(f"{pin}\n", encoding="utf-8")
    assert requirements(wheel_of(project, tmp_path)) == [pin]


def test_dependencies_of_the_models_own_stand_beside_the_pin(make: Make, tmp_path: Path) -> None:
    """In a file that the template does not have, so that no update touches it; an sdist carries it."""
    project = make("my_model")
    assert not (project / "requirements/own.txt").exists()
    (project / "requirements/own.txt").write_text(
        "# trees\neinops>=0.8\n\ntomli ; python_version < '3.11'  # old\n", encoding="utf-8"
    )
    expected = [f"xlm-runtime=={__version__}", "einops>=0.8", 'tomli; python_version < "3.11"']
    command = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    succeed([sys.executable, "-c", command], project)
    (sdist,) = (project / "dist").glob("*.tar.gz")
    assert requirements(wheel_of(sdist, tmp_path)) == expected
