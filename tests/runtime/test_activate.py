"""``activate``: ``import my_model`` finds what discovery found, or there is an error."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest
from model_repositories import make_model, write_registry

from xlm_runtime.discovery import activate, discover
from xlm_runtime.errors import ExternalModelConflictError


@pytest.fixture(autouse=True)
def imports_undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("flat", [False, True])
def test_an_activated_model_is_imported_from_where_it_was_found(tmp_path: Path, flat: bool) -> None:
    make_model(tmp_path / "act_model", "act_model", flat=flat)
    write_registry(tmp_path, {"act_model": "act_model"})
    found = discover(tmp_path, {})
    before = list(sys.path)
    activate(found.models)
    activate(found.models)
    model = found.models["act_model"]
    assert sys.path == [str(model.import_root), *before]
    home = importlib.import_module("act_model").HOME
    assert home == str(model.package_dir / "__init__.py")
    activate(found.models)
    assert sys.path == [str(model.import_root), *before]


def test_a_directory_goes_before_an_installed_package_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(make_model(tmp_path / "site-packages", "act_model")))
    root = make_model(tmp_path / "act_model", "act_model")
    sys.path.append(str(root))  # there already, but too late
    write_registry(tmp_path, {"act_model": "act_model"})
    activate(discover(tmp_path, {}).models)
    home = importlib.import_module("act_model").HOME
    assert home == str(root / "act_model" / "__init__.py")
    assert sys.path.count(str(root)) == 1


def test_an_installed_package_leaves_the_path_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site-packages"
    make_model(site / "act_model", "act_model", flat=True)
    monkeypatch.syspath_prepend(str(site))
    before = list(sys.path)
    activate({"act_model": discover(tmp_path, {"XLM_MODELS_PACKAGES": "act_model"}).get("act_model")})
    assert sys.path == before


def test_an_editable_install_that_a_directory_of_its_name_hides_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EditableFinder:
        """As setuptools leaves one behind: asked after the path's own finder."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            file = root / name / "__init__.py"
            return spec_from_file_location(name, file) if name == "act_model" else None

    root = make_model(tmp_path / "act_model", "act_model")  # itself no package: a namespace
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, EditableFinder])
    activate(discover(tmp_path, {"XLM_MODELS_PACKAGES": "act_model"}).models)
    home = importlib.import_module("act_model").HOME
    assert home == str(root / "act_model" / "__init__.py")


def test_a_package_of_that_name_that_is_imported_already_is_a_conflict(tmp_path: Path) -> None:
    for place in ("one", "two"):
        make_model(tmp_path / place, "act_model")
        write_registry(tmp_path / place, {"act_model": "."})
    activate(discover(tmp_path / "one", {}).models)
    importlib.import_module("act_model")
    with pytest.raises(ExternalModelConflictError) as caught:
        activate(discover(tmp_path / "two", {}).models)
    message = str(caught.value)
    assert message.startswith("Duplicate model name: act_model")
    assert str(tmp_path / "one" / "act_model") in message
    assert str(tmp_path / "two" / "act_model") in message


def test_a_package_of_that_name_beside_another_model_is_a_conflict(tmp_path: Path) -> None:
    make_model(tmp_path / "one", "act_one")
    make_model(tmp_path / "one", "act_two", configs=None)  # not registered, but importable from there
    make_model(tmp_path / "two", "act_two")
    write_registry(tmp_path, {"act_one": "one", "act_two": "two"})
    with pytest.raises(ExternalModelConflictError, match="act_two"):
        activate(discover(tmp_path, {}).models)


def test_a_plain_directory_of_that_name_beside_another_model_is_no_conflict(tmp_path: Path) -> None:
    make_model(tmp_path / "one", "act_one")
    (tmp_path / "one" / "act_two").mkdir()
    make_model(tmp_path / "two", "act_two")
    write_registry(tmp_path, {"act_one": "one", "act_two": "two"})
    activate(discover(tmp_path, {}).models)
    home = importlib.import_module("act_two").HOME
    assert home == str(tmp_path / "two" / "act_two" / "__init__.py")
