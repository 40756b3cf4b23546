"""Discovery: every place, both layouts, and one root or one name found twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from model_repositories import make_model, write_registry

from xlm_runtime.discovery import Discovery, ModelPackage, discover, known
from xlm_runtime.errors import (
    ExternalModelConflictError,
    ModelNotFoundError,
    RegistryError,
)

pytestmark = pytest.mark.usefixtures("nothing_installed")


def only(found: Discovery) -> ModelPackage:
    (model,) = found.models.values()
    return model


def test_what_is_known_is_not_searched_for_again_until_it_may_have_changed(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cwd)
    monkeypatch.delenv("XLM_MODELS_PATH", raising=False)
    monkeypatch.delenv("XLM_MODELS_PACKAGES", raising=False)
    found = discover()
    make_model(cwd / "my_model", "my_model")
    write_registry(cwd, {"my_model": "my_model"})
    with known(found):
        assert discover() is found and only(discover(cwd, {})).name == "my_model"
        with known(None):
            assert only(discover()).name == "my_model"
        assert discover() is found
    assert only(discover()).name == "my_model"


# The places.


@pytest.mark.parametrize("place", [".", "./xlm-models", "./reference-models"])
def test_a_registry_in_the_current_directory_or_its_two_known_children_is_found(cwd: Path, place: str) -> None:
    make_model(cwd / place / "my_model", "my_model")
    write_registry(cwd / place, {"my_model": "my_model"})
    model = only(discover(cwd, {}))
    assert model.name == "my_model"
    assert model.source == f"{place}/xlm_models.json"
    assert model.root == cwd / place / "my_model"
    assert model.package_dir == model.root / "my_model"
    assert model.configs == model.root / "configs"
    assert model.import_root == model.root
    assert not model.is_core
    assert not model.is_installed


def test_each_directory_of_the_path_variable_is_searched_and_empty_entries_are_ignored(
    cwd: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        make_model(tmp_path / name / "deep" / name, name)
        write_registry(tmp_path / name, {name: f"deep/{name}"})
    variable = os.pathsep.join(["", str(tmp_path / "two"), "", "../one", ""])
    found = discover(cwd, {"XLM_MODELS_PATH": variable})
    assert list(found.models) == ["one", "two"]
    assert found.models["two"].source == f"XLM_MODELS_PATH: {tmp_path / 'two' / 'xlm_models.json'}"
    assert found.models["one"].root == tmp_path / "one" / "deep" / "one"


def test_the_defaults_are_the_current_directory_and_the_process_environment(
    cwd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(cwd, "here")
    write_registry(cwd, {"here": "."})
    make_model(tmp_path / "other", "there")
    write_registry(tmp_path / "other", {"there": "."})
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("XLM_MODELS_PATH", str(tmp_path / "other"))
    monkeypatch.delenv("XLM_MODELS_PACKAGES", raising=False)
    assert list(discover().models) == ["here", "there"]


def test_the_places_searched_are_listed_whether_or_not_anything_was_there(cwd: Path) -> None:
    write_registry(cwd, {})
    found = discover(cwd, {"XLM_MODELS_PATH": f"{cwd}", "XLM_MODELS_PACKAGES": ""})
    assert found.models == {}
    assert found.searched == [
        "./xlm_models.json",
        "./xlm-models/xlm_models.json",
        "./reference-models/xlm_models.json",
        f"XLM_MODELS_PATH: {cwd / 'xlm_models.json'}",
        "XLM_MODELS_PACKAGES: (not set)",
        "entry points of group xlm.models (installed packages)",
    ]
    assert "XLM_MODELS_PATH (not set)" in discover(cwd, {}).searched


def test_a_missing_model_is_answered_with_near_names_places_and_the_remedy(cwd: Path) -> None:
    make_model(cwd / "my_model", "my_model")
    write_registry(cwd, {"my_model": "my_model"})
    found = discover(cwd, {})
    assert found.get("my_model").name == "my_model"
    with pytest.raises(ModelNotFoundError) as caught:
        found.get("my_modle")
    message = str(caught.value)
    assert message.startswith("No module named 'my_modle'")
    assert "Did you mean 'my_model'?" in message
    assert str(cwd) in message
    assert all(place in message for place in found.searched)
    assert '{"my_modle": "path/to/my_modle"}' in message
    assert "pip install" in message


# The layouts.


def test_a_flat_repository_is_itself_the_package(cwd: Path) -> None:
    make_model(cwd / "my_model", "my_model", flat=True)
    write_registry(cwd, {"my_model": "my_model"})
    model = only(discover(cwd, {}))
    assert model.root == model.package_dir == cwd / "my_model"
    assert model.import_root == cwd
    assert model.configs == cwd / "my_model" / "configs"


@pytest.mark.parametrize("flat", [False, True])
def test_a_repository_registers_itself_with_a_dot(cwd: Path, flat: bool) -> None:
    make_model(cwd, "work", flat=flat)
    write_registry(cwd, {"work": "."})
    model = only(discover(cwd, {}))
    assert model.root == cwd
    assert model.package_dir == (cwd if flat else cwd / "work")


def test_an_absolute_path_is_taken_as_it_is(cwd: Path, tmp_path: Path) -> None:
    root = make_model(tmp_path / "elsewhere", "my_model")
    write_registry(cwd, {"my_model": str(root)})
    assert only(discover(cwd, {})).root == root


def test_dots_behind_a_symbolic_link_lead_where_the_link_leads(cwd: Path, tmp_path: Path) -> None:
    root = make_model(tmp_path / "real" / "my_model", "my_model")
    write_registry(tmp_path / "real" / "registry", {"my_model": "../my_model"})
    (cwd / "linked").symlink_to(tmp_path / "real" / "registry")
    assert only(discover(cwd, {"XLM_MODELS_PATH": "linked"})).root == root


def test_configs_lightning_train_is_the_search_path_where_it_exists(cwd: Path) -> None:
    make_model(cwd, "work", configs="configs/lightning_train", experiments=["a"], commands="show: work.show\n")
    write_registry(cwd, {"work": "."})
    model = only(discover(cwd, {}))
    assert model.configs == cwd / "configs" / "lightning_train"
    assert model.experiments() == ["a"]
    assert dict(model.commands) == {"show": "work.show"}
    (cwd / "configs" / "commands.yaml").rename(model.configs / "commands.yaml")
    assert dict(only(discover(cwd, {})).commands) == {"show": "work.show"}


def test_experiments_are_sorted_and_hidden_files_are_none(cwd: Path) -> None:
    make_model(cwd, "work", experiments=["star_hard_work", "star_easy_work", ".backup"])
    write_registry(cwd, {"work": "."})
    assert only(discover(cwd, {})).experiments() == ["star_easy_work", "star_hard_work"]


def test_a_directory_is_no_experiment(cwd: Path) -> None:
    make_model(cwd, "work", experiments=["a"])
    (cwd / "configs/experiment/b.yaml").mkdir()
    write_registry(cwd, {"work": "."})
    assert only(discover(cwd, {})).experiments() == ["a"]


def test_packages_that_commas_separate_are_an_error(cwd: Path) -> None:
    with pytest.raises(RegistryError, match=f"XLM_MODELS_PACKAGES is 'a,b'; .* separated by '{os.pathsep}'"):
        discover(cwd, {"XLM_MODELS_PACKAGES": "a,b"})


def test_a_model_without_experiments_has_none(cwd: Path) -> None:
    make_model(cwd, "work", configs=None)
    (cwd / "configs").mkdir()
    write_registry(cwd, {"work": "."})
    assert only(discover(cwd, {})).experiments() == []


# One name, one or two roots.


def test_one_root_found_twice_is_one_model_and_the_first_source_stands(cwd: Path, tmp_path: Path) -> None:
    root = make_model(tmp_path / "models" / "my_model", "my_model")
    write_registry(root, {"my_model": "."})
    write_registry(tmp_path / "models", {"my_model": "my_model"})
    (cwd / "link").symlink_to(root)
    write_registry(cwd, {"my_model": "link"})
    variable = os.pathsep.join([str(tmp_path / "models"), str(root), str(cwd)])
    model = only(discover(cwd, {"XLM_MODELS_PATH": variable}))
    assert model.source == "./xlm_models.json"
    assert model.root == cwd / "link"


def test_two_names_may_share_a_repository(cwd: Path) -> None:
    make_model(cwd, "one")
    make_model(cwd, "two", configs=None)
    write_registry(cwd, {"two": ".", "one": "."})
    assert list(discover(cwd, {}).models) == ["one", "two"]


def test_one_name_from_two_roots_names_both_roots_and_sources(cwd: Path, tmp_path: Path) -> None:
    first = make_model(cwd / "my_model", "my_model")
    write_registry(cwd, {"my_model": "my_model"})
    second = make_model(tmp_path / "other" / "my_model", "my_model", flat=True)
    write_registry(tmp_path / "other", {"my_model": "my_model"})
    with pytest.raises(ExternalModelConflictError) as caught:
        discover(cwd, {"XLM_MODELS_PATH": str(tmp_path / "other")})
    message = str(caught.value)
    assert message.startswith("Duplicate model name: my_model")
    assert f"{first} (./xlm_models.json)" in message
    assert f"{second} (XLM_MODELS_PATH: {tmp_path / 'other' / 'xlm_models.json'})" in message


# What importing discovery costs.


def test_importing_and_using_discovery_loads_neither_torch_nor_hydra_nor_a_model(cwd: Path) -> None:
    make_model(cwd, "quiet_model", commands="show: quiet_model.show\n")
    write_registry(cwd, {"quiet_model": "."})
    program = (
        "import sys; path = list(sys.path)\n"
        "from xlm_runtime.discovery import discover\n"
        "assert dict(discover().get('quiet_model').commands) == {'show': 'quiet_model.show'}\n"
        "assert sys.path == path\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith("XLM_")}
    environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, env=environ, capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert "yaml" in loaded
    assert not loaded & {"torch", "hydra", "omegaconf", "lightning", "transformers", "quiet_model"}
