"""``configs/commands.yaml``: job types of a model's own, and what a user gets for a mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_repositories import make_model, write_registry

from xlm_runtime.discovery import ModelPackage, discover
from xlm_runtime.errors import RegistryError


def model_with(directory: Path, commands: str | None) -> ModelPackage:
    make_model(directory, "my_model", commands=commands)
    write_registry(directory, {"my_model": "."})
    return discover(directory, {}).get("my_model")


@pytest.mark.parametrize("text", [None, "", "# none yet\n", "---\n"])
def test_a_model_may_have_no_commands(tmp_path: Path, text: str | None) -> None:
    commands = model_with(tmp_path, text).commands
    assert len(commands) == 0
    assert "show" not in commands


def test_commands_keep_their_order(tmp_path: Path) -> None:
    text = "# @package _global_\nshow-all: my_model.show.main\n'on': my_model.switch.on\n"
    commands = model_with(tmp_path, text).commands
    assert list(commands.items()) == [
        ("show-all", "my_model.show.main"),
        ("on", "my_model.switch.on"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("show: a.b\nother: [a.b\n", 3, "not valid YAML"),
        ("show: a.b\n\tother: a.b\n", 2, "not valid YAML"),
        ("show: a.b\nother: a\x01b\n", 2, "not valid YAML"),
        ("show: a.b\n---\nother: a.b\n", 2, "not valid YAML"),
        ("\n- a.b\n", 2, "found a list"),
        ("a.b\n", 1, "found 'a.b'"),
        ("show: a.b\nother: 3\n", 2, "'3' (read as int)"),
        ("show:\n", 1, "'' (read as null)"),
        ("show:\n  _target_: a.b\n", 1, "is a mapping"),
        ("show: [a.b]\n", 1, "is a list"),
        ("show: function\n", 1, "'function', not the dotted path"),
        ("show: a.b:function\n", 1, "not the dotted path"),
        ("show: a..b\n", 1, "not the dotted path"),
        ("show: !!python/name:os.system\n", 1, "not the dotted path"),
        ("show: a.b\non: a.b\n", 2, "'on' (read as bool) cannot be a command's name"),
        ("? [a]\n: a.b\n", 1, "a list cannot be a command's name"),
        ("show it: a.b\n", 1, "'show it' cannot be a command's name"),
        ("show: a.b\nother: a.b\nshow: a.c\n", 3, "'show' stands twice"),
        ("[" * 10_000, 1, "cannot be read"),
    ],
)
def test_anything_but_names_of_functions_is_an_error_with_its_line(
    tmp_path: Path, text: str, line: int, problem: str
) -> None:
    model = model_with(tmp_path, text)
    with pytest.raises(RegistryError) as caught:
        dict(model.commands)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'configs' / 'commands.yaml'}, line {line}: ")
    assert problem in message


def test_a_file_that_is_not_utf8_is_an_error_with_its_line(tmp_path: Path) -> None:
    model = model_with(tmp_path, "")
    (tmp_path / "configs" / "commands.yaml").write_bytes(b"show: a.b\nother: \xff\n")
    with pytest.raises(RegistryError, match=r"commands\.yaml, line 2: .*not UTF-8"):
        list(model.commands)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    model = model_with(tmp_path, None)
    (tmp_path / "configs" / "commands.yaml").mkdir()
    with pytest.raises(RegistryError, match=r"Cannot read .*commands\.yaml"):
        len(model.commands)
