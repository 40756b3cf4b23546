"""``xlm_models.json``, read and written: the form of the file, with file, line and column."""

from __future__ import annotations

import json
import os
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from model_repositories import make_model, write_registry
from packaging.requirements import Requirement

from xlm_runtime.discovery import discover, register
from xlm_runtime.errors import ExternalModelConflictError, RegistryError, ScaffoldError
from xlm_runtime.registry import name_problem


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ('{\n  "my_model": "a"\n  "other": "b"\n}', "line 3, column 3", "not valid JSON"),
        ('{"my_model": }', "line 1, column 14", "not valid JSON"),
        ("", "line 1, column 1", "not valid JSON"),
        ("\n\n  []", "line 3, column 3", "found a list"),
        ('"my_model"', "line 1, column 1", "found a string"),
        ("null", "line 1, column 1", "found null"),
        ('{\n\n"my_model": 3}', "line 3", "the path of 'my_model' is a number"),
        ('{"my_model": true}', "line 1", "the path of 'my_model' is a boolean"),
        ('{"my_model": null}', "line 1", "the path of 'my_model' is null"),
        ('{"my_model":\n["a"]}', "line 1", "the path of 'my_model' is a list"),
        ('{"my_model": {"my_model": "a"}}', "line 1", "the path of 'my_model' is an object"),
        ('{"my_model": ""}', "line 1", "the path of 'my_model' is \"\""),
        ('{"my_model": "a\\u0000"}', "line 1", "the path of 'my_model' is"),
        ('{\n"my-model": "a"}', "line 2", "'my-model' cannot be a model's name"),
        ('{"": "a"}', "line 1", "'' cannot be a model's name"),
        ('{"import": "a"}', "line 1", "'import' cannot be a model's name"),
        ('{"json": "a"}', "line 1", "standard library"),
        ("[" * 100_000, "line 1", "cannot be read"),
        ('{"my_model": ' + "9" * 5_000 + "}", "line 1", "cannot be read"),
    ],
)
def test_a_file_of_another_form_is_named_with_place_and_problem(
    tmp_path: Path, text: str, place: str, problem: str
) -> None:
    file = write_registry(tmp_path, text)
    with pytest.raises(RegistryError) as caught:
        discover(tmp_path, {})
    message = str(caught.value)
    assert message.startswith(f"{file}, {place}: ")
    assert problem in message
    assert "xpected" in message or "another name" in message


@pytest.mark.parametrize("again", ["my_model", "m\\u0079_model"])
def test_a_name_twice_in_one_file_is_a_conflict_with_both_lines(tmp_path: Path, again: str) -> None:
    make_model(tmp_path / "my_model", "my_model")
    text = f'{{\n  "my_model": "my_model",\n  "other": "my_model",\n  "{again}": "my_model"\n}}'
    file = write_registry(tmp_path, text)
    with pytest.raises(ExternalModelConflictError) as caught:
        discover(tmp_path, {})
    message = str(caught.value)
    assert message.startswith("Duplicate model name: my_model")
    assert f"{file}, lines 2 and 4" in message


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    make_model(tmp_path, "my_model")
    (tmp_path / "xlm_models.json").write_bytes(b'\xef\xbb\xbf{"my_model": "."}')
    assert discover(tmp_path, {}).get("my_model").root == tmp_path


@pytest.mark.parametrize("raw", [b'{\n"my_model": "\xe9"}', '{\n"my_model": "."}'.encode("utf-16")])
def test_a_file_that_is_not_utf8_is_an_error(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "xlm_models.json").write_bytes(raw)
    line = 1 if raw.startswith(b"\xff") else 2
    with pytest.raises(RegistryError, match=rf"xlm_models\.json, line {line}: .*not UTF-8"):
        discover(tmp_path, {})


def test_a_registry_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "xlm_models.json").mkdir()
    with pytest.raises(RegistryError, match=r"Cannot read .*xlm_models\.json"):
        discover(tmp_path, {})


def test_a_registry_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "xlm_models.json")
    with pytest.raises(RegistryError, match=r"Cannot read .*xlm_models\.json: it is no file of text"):
        discover(tmp_path, {})


def test_no_model_bears_the_name_of_a_package_that_the_runtime_needs(tmp_path: Path) -> None:
    names = {name.replace("_", "-").lower() for name in ("xlm-runtime", *dependencies("xlm-runtime"))}
    packages = {
        package
        for package, distributions in packages_distributions().items()
        if any(name.replace("_", "-").lower() in names for name in distributions)
    }
    assert {"torch", "yaml", "hydra", "xlm_runtime"} <= packages | {"xlm_runtime"}
    for package in sorted(packages):
        assert name_problem(package), package
    make_model(tmp_path / "torch", "torch")
    write_registry(tmp_path, {"torch": "torch"})
    with pytest.raises(RegistryError, match=r"line 2: 'torch' cannot be a model's name: .* which xLM needs itself"):
        discover(tmp_path, {})


def dependencies(distribution: str) -> list[str]:
    required = [Requirement(line) for line in requires(distribution) or []]
    return [each.name for each in required if each.marker is None or each.marker.evaluate({"extra": ""})]


def test_a_registered_model_is_discovered(tmp_path: Path) -> None:
    make_model(tmp_path / "my_model", "my_model")
    register(tmp_path, "my_model", "my_model")
    assert (tmp_path / "xlm_models.json").read_text(encoding="utf-8") == '{\n  "my_model": "my_model"\n}\n'
    assert discover(tmp_path, {}).get("my_model").root == tmp_path / "my_model"


def test_registering_keeps_other_entries_and_their_order(tmp_path: Path) -> None:
    file = tmp_path / "xlm_models.json"
    file.write_bytes('\ufeff{"zeta": "modèles/zeta", "alpha": "gone"}'.encode())
    register(tmp_path, "middle", "middle")
    text = file.read_text(encoding="utf-8")
    assert list(json.loads(text).items()) == [
        ("zeta", "modèles/zeta"),
        ("alpha", "gone"),
        ("middle", "middle"),
    ]
    assert "modèles" in text
    assert [path.name for path in tmp_path.iterdir()] == ["xlm_models.json"]


def test_a_name_that_is_registered_already_is_refused(tmp_path: Path) -> None:
    file = write_registry(tmp_path, {"my_model": "here"})
    before = file.read_bytes()
    with pytest.raises(ScaffoldError, match=r"'my_model' is registered already: .*line 2.* 'here'"):
        register(tmp_path, "my_model", "there")
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["my-model", "2nd", "", "class", "random", "test", "torch"])
def test_a_name_that_cannot_be_a_models_is_not_registered(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScaffoldError, match="cannot be a model's name"):
        register(tmp_path, name, "somewhere")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_registry_is_not_overwritten(tmp_path: Path) -> None:
    file = write_registry(tmp_path, '{"my_model": "here"')
    with pytest.raises(RegistryError, match="not valid JSON"):
        register(tmp_path, "other", "there")
    assert file.read_text(encoding="utf-8") == '{"my_model": "here"'


def test_a_registry_that_cannot_be_replaced_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    file = write_registry(tmp_path, {"my_model": "here"})
    before = file.read_bytes()
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ScaffoldError, match="No space left on device"):
        register(tmp_path, "other", "there")
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["xlm_models.json"]


def test_a_registry_that_is_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    target = write_registry(tmp_path / "shared", {"my_model": "here"})
    link = tmp_path / "xlm_models.json"
    link.symlink_to(target)
    register(tmp_path, "other", "there")
    assert link.is_symlink()
    assert list(json.loads(target.read_text(encoding="utf-8"))) == ["my_model", "other"]
