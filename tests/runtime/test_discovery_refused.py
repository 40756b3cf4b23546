"""Discovery: what a user gets for a path that leads nowhere, a registry that is none, and a directory that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_repositories import make_model, write_registry

from xlm_runtime.discovery import discover
from xlm_runtime.errors import DiscoveryError, ModelLayoutError, RegistryError

pytestmark = pytest.mark.usefixtures("nothing_installed")


@pytest.mark.parametrize(
    ("break_it", "kind", "named"),
    [
        ("path", RegistryError, "does not exist"),
        ("file", RegistryError, "is not a directory"),
        ("package", ModelLayoutError, "has no package 'my_model'"),
        ("init", ModelLayoutError, "has no __init__.py"),
        ("configs", ModelLayoutError, "has no configs"),
        ("flat_name", ModelLayoutError, "Call the directory 'my_model'"),
    ],
)
def test_a_path_that_leads_to_no_model_names_the_entry_and_the_lack(
    cwd: Path, break_it: str, kind: type[Exception], named: str
) -> None:
    root = cwd / "some"
    if break_it == "file":
        root.write_text("", encoding="utf-8")
    elif break_it == "flat_name":
        make_model(root, "some", flat=True)
    elif break_it != "path":
        make_model(root, "my_model", configs=None if break_it == "configs" else "configs")
    if break_it in ("package", "init"):
        (root / "my_model" / "__init__.py").unlink()
    if break_it == "package":
        (root / "my_model").rmdir()
    registry = write_registry(cwd, '{\n  "my_model":\n    "some"\n}')
    with pytest.raises(kind) as caught:
        discover(cwd, {})
    message = str(caught.value)
    assert message.startswith(f"{registry}, line 2: ")
    assert named in message
    assert str(root) in message


def test_a_path_that_is_too_long_is_an_error(cwd: Path) -> None:
    write_registry(cwd, {"my_model": "x" * 5000})
    with pytest.raises(RegistryError, match=r"line 2: .*xxx\.\.\.', but it cannot be reached: File name too long"):
        discover(cwd, {})


def test_a_current_directory_that_was_deleted_is_an_error(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cwd)
    cwd.rmdir()
    with pytest.raises(DiscoveryError, match="current directory exists no longer"):
        discover()


# XLM_MODELS_PATH.


def test_a_path_entry_that_does_not_exist_is_an_error(cwd: Path) -> None:
    with pytest.raises(RegistryError, match=r"XLM_MODELS_PATH names .*gone, which does not exist"):
        discover(cwd, {"XLM_MODELS_PATH": "gone"})


def test_a_path_entry_that_is_a_file_is_an_error(cwd: Path) -> None:
    write_registry(cwd, {})
    with pytest.raises(RegistryError, match="is not a directory"):
        discover(cwd, {"XLM_MODELS_PATH": "xlm_models.json"})


def test_a_path_entry_without_a_registry_says_what_to_create(cwd: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        discover(cwd, {"XLM_MODELS_PATH": str(tmp_path)})
    assert f"Create {tmp_path / 'xlm_models.json'} with" in str(caught.value)
