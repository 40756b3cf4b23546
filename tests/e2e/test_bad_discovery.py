"""Models that cannot be found, or are found twice: what the command line says."""

from __future__ import annotations

from pathlib import Path

import pytest
from outcomes import REFERENCE_MODELS, Run
from tiny_models import make_model, register, write


def test_a_model_in_no_registry(project: Path, xlm_process: Run) -> None:
    result = xlm_process("job_type=train", "model=my_modle", "model_type=my_modle")
    result.refused("No module named 'my_modle'", "Did you mean 'my_model'?", "./xlm_models.json", "XLM_MODELS_PATH")
    assert not (project / "runs").exists()


def test_an_experiment_of_a_model_in_no_registry(home: Path, xlm: Run) -> None:
    make_model(home / "my_model")
    xlm("experiment=star_easy_my_model").refused(
        "Could not find 'experiment/star_easy_my_model'", "Searched", "xlm-models/xlm_models.json", "Register"
    )


def test_one_name_for_two_roots(project: Path, tmp_path: Path, xlm_process: Run) -> None:
    other = make_model(tmp_path / "elsewhere" / "my_model")
    register(other.parent, {"my_model": "my_model"})
    result = xlm_process("job_type=train", "experiment=star_easy_my_model", XLM_MODELS_PATH=str(other.parent))
    result.refused("ExternalModelConflictError: Duplicate model name: my_model", str(project / "my_model"), str(other))
    assert not (project / "runs").exists()


def test_the_name_of_a_core_model(home: Path, xlm: Run) -> None:
    make_model(home / "arlm", "arlm")
    register(home, {"arlm": "arlm"})
    result = xlm("job_type=list", XLM_MODELS_PATH=str(REFERENCE_MODELS))
    result.refused("ExternalModelConflictError: Duplicate model name: arlm", "core model", str(home / "arlm"))


def test_a_name_twice_in_one_file(project: Path, xlm: Run) -> None:
    file = write(project / "xlm_models.json", '{\n  "my_model": "my_model",\n  "my_model": "other"\n}\n')
    xlm().refused("ExternalModelConflictError: Duplicate model name: my_model", str(file), "lines 2 and 3")


def test_one_root_found_twice_is_one_model(project: Path, xlm: Run) -> None:
    listed = xlm(XLM_MODELS_PATH=f"{project}:{project / 'my_model' / '..'}").done()
    assert listed.count("experiments: star_easy_my_model") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n  "my_model": "my_model",\n}\n', ["line 3, column 1", "not valid JSON"]),
        ('["my_model"]\n', ["line 1, column 1", "found a list", "Expected an object"]),
        ('{"my_model": 3}\n', ["line 1", "a number", "Expected a string"]),
        ("", ["line 1, column 1", "not valid JSON"]),
    ],
)
def test_a_malformed_registry(project: Path, xlm: Run, text: str, words: list[str]) -> None:
    file = write(project / "xlm_models.json", text)
    xlm("experiment=star_easy_my_model").refused(str(file), *words)


def test_a_malformed_registry_under_the_listing(project: Path, xlm_process: Run) -> None:
    file = write(project / "xlm_models.json", "{my_model: 1}")
    xlm_process().refused(f"{file}, line 1, column 2: not valid JSON")


def test_a_path_that_does_not_exist(home: Path, xlm: Run) -> None:
    file = register(home, {"my_model": "models/my_model"})
    xlm().refused(f"{file}, line 2", str(home / "models" / "my_model"), "does not exist", "Correct the path")


def test_a_root_without_its_package(project: Path, xlm: Run) -> None:
    (project / "my_model" / "my_model").rename(project / "my_model" / "source")
    xlm().refused("xlm_models.json, line 2", "has no package 'my_model'", "Create the package")


def test_a_root_without_configs(project: Path, xlm: Run) -> None:
    (project / "my_model" / "configs").rename(project / "my_model" / "conf")
    xlm().refused("xlm_models.json, line 2", "no configs", str(project / "my_model" / "configs"), "Create")


def test_a_package_without_init(project: Path, xlm: Run) -> None:
    (project / "my_model" / "my_model" / "__init__.py").unlink()
    xlm().refused("xlm_models.json, line 2", "has no __init__.py", "Create that file")


def test_a_directory_of_the_variable_that_does_not_exist(home: Path, xlm: Run) -> None:
    xlm(XLM_MODELS_PATH=str(home / "nowhere")).refused("XLM_MODELS_PATH", str(home / "nowhere"), "does not exist")


def test_a_directory_of_the_variable_without_a_registry(home: Path, xlm: Run) -> None:
    xlm(XLM_MODELS_PATH=str(home)).refused("XLM_MODELS_PATH", str(home), "has no xlm_models.json", "Create")


def test_a_package_of_the_variable_that_is_not_installed(home: Path, xlm: Run) -> None:
    xlm("experiment=any", XLM_MODELS_PACKAGES="my_absent_model").refused(
        "No module named 'my_absent_model'", "XLM_MODELS_PACKAGES", "pip install"
    )


def test_a_traceback_for_those_who_ask(home: Path, xlm_process: Run) -> None:
    register(home, {"my_model": "nowhere"})
    result = xlm_process("experiment=any", XLM_TRACEBACK="1")
    assert result.code == 2
    assert "Traceback (most recent call last)" in result.err and "RegistryError" in result.err
    assert result.err.splitlines()[-2].startswith("Error: ")
