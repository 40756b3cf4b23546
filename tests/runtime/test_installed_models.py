"""Installed models: packages of XLM_MODELS_PACKAGES and entry points, found without importing them.

The fake ones stand on ``sys.path``, as pip would put them there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from model_repositories import declare, make_model, write_registry

from xlm_runtime.discovery import Discovery, ModelPackage, discover
from xlm_runtime.errors import ExternalModelConflictError, ModelLayoutError, RegistryError

pytestmark = pytest.mark.usefixtures("nothing_installed")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "site-packages"
    directory.mkdir()
    monkeypatch.syspath_prepend(str(directory))
    return directory


def only(found: Discovery) -> ModelPackage:
    (model,) = found.models.values()
    return model


def test_an_installed_core_model_keeps_its_name(cwd: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "arlm", raising=False)
    make_model(site / "arlm", "arlm", flat=True)
    declare(site, "arlm")
    assert only(discover(cwd, {})).is_core
    make_model(cwd / "arlm", "arlm")
    write_registry(cwd, {"arlm": "arlm"})
    with pytest.raises(ExternalModelConflictError) as caught:
        discover(cwd, {})
    message = str(caught.value)
    assert message.startswith("Duplicate model name: arlm")
    assert "core model" in message
    assert str(cwd / "arlm") in message
    assert str(site / "arlm") in message
    assert f"pip install --editable {cwd / 'arlm'}" in message


def test_a_package_of_the_variable_brings_its_configs_and_is_not_imported(cwd: Path, site: Path) -> None:
    make_model(site / "packaged_model", "packaged_model", flat=True, experiments=["star"])
    (site / "packaged_model" / "__init__.py").write_text("raise RuntimeError", encoding="utf-8")
    found = discover(cwd, {"XLM_MODELS_PACKAGES": ": packaged_model :"})
    model = only(found)
    assert model.source == "XLM_MODELS_PACKAGES"
    assert model.is_installed
    assert model.package_dir == site / "packaged_model"
    assert model.configs == site / "packaged_model" / "configs"
    assert model.import_root == site
    assert model.experiments() == ["star"]
    assert "XLM_MODELS_PACKAGES: packaged_model" in found.searched
    assert "packaged_model" not in sys.modules


def test_an_entry_point_is_found_with_no_variable_set(cwd: Path, site: Path) -> None:
    make_model(site / "entry_model", "entry_model", flat=True)
    declare(site, "entry_model")
    model = only(discover(cwd, {}))
    assert model.source == "installed package"
    assert only(discover(cwd, {"XLM_MODELS_PACKAGES": "entry_model"})).source == "XLM_MODELS_PACKAGES"


def test_an_entry_point_may_call_the_model_otherwise_than_the_package(cwd: Path, site: Path) -> None:
    make_model(site / "some_package", "some_package", flat=True)
    declare(site, "some_model", value="some_package")
    model = only(discover(cwd, {}))
    assert (model.name, model.package_dir.name) == ("some_model", "some_package")


def test_an_editable_install_is_the_same_model_as_its_directory(
    cwd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_model(tmp_path / "checkout", "edited_model")
    monkeypatch.syspath_prepend(str(root))
    declare(root, "edited_model")
    installed = only(discover(cwd, {}))
    assert installed.root == root
    assert installed.package_dir == root / "edited_model"
    assert installed.configs == root / "configs"
    write_registry(cwd, {"edited_model": str(root)})
    assert only(discover(cwd, {"XLM_MODELS_PACKAGES": "edited_model"})).source == "./xlm_models.json"


def test_a_directory_of_the_same_name_does_not_hide_an_editable_install(
    cwd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EditableFinder:
        """As setuptools leaves one behind: asked after the path's own finder."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            from importlib.util import spec_from_file_location

            file = cwd / name / name / "__init__.py"
            return spec_from_file_location(name, file) if name == "hidden_model" else None

    make_model(cwd / "hidden_model", "hidden_model")  # cwd/hidden_model is no package: a namespace
    monkeypatch.syspath_prepend(str(cwd))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, EditableFinder])
    model = only(discover(tmp_path, {"XLM_MODELS_PACKAGES": "hidden_model"}))
    assert model.package_dir == cwd / "hidden_model" / "hidden_model"


def test_a_package_that_is_not_installed_is_named_with_the_remedy(cwd: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        discover(cwd, {"XLM_MODELS_PACKAGES": "no_such_model"})
    message = str(caught.value)
    assert message.startswith("No module named 'no_such_model'")
    assert "XLM_MODELS_PACKAGES" in message
    assert "pip install" in message


@pytest.mark.parametrize("metadata", [True, False])
def test_a_stale_entry_point_names_its_distribution_and_how_to_remove_it(cwd: Path, site: Path, metadata: bool) -> None:
    declare(site, "gone_model", metadata=metadata)
    with pytest.raises(RegistryError) as caught:
        discover(cwd, {})
    message = str(caught.value)
    assert message.startswith("No module named 'gone_model'")
    if metadata:
        assert "distribution gone_model-dist 1.0" in message
        assert "`pip uninstall gone_model-dist`" in message
    else:
        assert f"distribution in {site}" in message
        assert "dist-info" in message


@pytest.mark.parametrize("value", ["outer.inner", "outer:attribute"])
def test_an_entry_point_must_name_a_top_level_package(cwd: Path, site: Path, value: str) -> None:
    declare(site, "inner_model", value=value)
    with pytest.raises(RegistryError, match=f"inner_model-dist.*'{value}' is not the name of a top-level"):
        discover(cwd, {})


@pytest.mark.parametrize("name", ["my-model", "package.module", "class", "json"])
def test_a_name_that_cannot_be_a_models_is_refused_in_the_variable_too(cwd: Path, name: str) -> None:
    with pytest.raises(RegistryError, match=f"XLM_MODELS_PACKAGES names '{name}': '{name}' cannot be"):
        discover(cwd, {"XLM_MODELS_PACKAGES": name})


def test_an_installed_package_without_init_is_an_error(cwd: Path, site: Path) -> None:
    (site / "bare_model" / "configs").mkdir(parents=True)
    with pytest.raises(ModelLayoutError) as caught:
        discover(cwd, {"XLM_MODELS_PACKAGES": "bare_model"})
    assert "__init__.py" in str(caught.value)
    assert str(site / "bare_model") in str(caught.value)


def test_an_installed_module_is_no_package(cwd: Path, site: Path) -> None:
    (site / "single_model.py").write_text("", encoding="utf-8")
    with pytest.raises(ModelLayoutError, match=r"no package with an __init__\.py: .*single_model\.py"):
        discover(cwd, {"XLM_MODELS_PACKAGES": "single_model"})


def test_an_installed_package_without_configs_does_not_take_a_strangers(cwd: Path, site: Path) -> None:
    make_model(site, "half_model")  # leaves site-packages/configs
    with pytest.raises(ModelLayoutError, match="installed without configs") as caught:
        discover(cwd, {"XLM_MODELS_PACKAGES": "half_model"})
    assert 'package_data={"half_model": ["configs/**/*.yaml"]}' in str(caught.value)
