"""``make``: from a node of the configuration to an object."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny_parts as tiny
import torch
from omegaconf import DictConfig, OmegaConf

from xlm_runtime.build import make
from xlm_runtime.errors import ComponentError, ConfigError, ContractError, UnknownKeyError, XlmError

HERE = __name__


@dataclasses.dataclass
class Thing:
    """Takes anything under four names; two have defaults."""

    first: Any
    second: Any
    third: Any = None
    fourth: Any = "four"


class Anything:
    def __init__(self, **given: Any) -> None:
        self.given = given


class Picky:
    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"size is {size}")
        if size > 9:
            raise ConfigError("at most 9")


class NoMethods:
    pass


def cfg(**nodes: Any) -> DictConfig:
    return OmegaConf.create({"vocab": {"size": 27, "pad": 0}, "batch_size": 8, **nodes})


def thing(**arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{HERE}.Thing", **arguments}


# -- arguments ---------------------------------------------------------------------------------------------


def test_an_object_gets_its_configured_arguments_and_the_given_objects() -> None:
    made = make(cfg(part=thing(first=1, third="x")), "part", second=[2])
    assert made == Thing(1, [2], "x", "four")


def test_objects_are_passed_as_they_are_and_not_copied() -> None:
    objects: list[Any] = [tiny.Model(), {"a": [1]}, OmegaConf.create({"a": 1}), torch.zeros(2)]
    for given in objects:
        assert make(cfg(part=thing(second=2)), "part", first=given).first is given
        assert make(cfg(part={"_target_": f"{HERE}.Anything"}), "part", first=given).given["first"] is given


def test_configured_containers_arrive_as_plain_dicts_and_lists() -> None:
    made = make(cfg(part=thing(first={"a": {"b": [1, 2]}}, second=[{"c": "${vocab.size}"}])), "part")
    assert type(made.first) is dict and type(made.first["a"]) is dict and type(made.first["a"]["b"]) is list
    assert made.second == [{"c": 27}]


def test_interpolations_are_resolved_against_the_whole_configuration() -> None:
    nested = cfg(group={"part": thing(first="${vocab.size}", second="${batch_size}", third="${.first}")})
    assert make(nested, "group.part") == Thing(27, 8, 27)
    left_out = cfg(part=thing(first="${vocab.size}", second={"left": "${nowhere.at_all}"}))
    assert make(left_out, "part", leave=("second",), second=3) == Thing(27, 3)


def test_making_changes_neither_the_configuration_nor_its_interpolations() -> None:
    whole = cfg(part=thing(first="${vocab.size}", second=2))
    before = OmegaConf.to_yaml(whole)
    make(whole, "part")
    make(whole, "part", leave=("second",), second=9)
    assert OmegaConf.to_yaml(whole) == before
    whole.vocab.size = 28
    assert make(whole, "part").first == 28


def test_a_nested_target_is_made_too() -> None:
    made = make(cfg(part=thing(first=thing(first="${vocab.pad}", second=2), second=[thing(first=3, second=4)])), "part")
    assert made.first == Thing(0, 2)
    assert made.second == [Thing(3, 4)]


def test_a_partial_still_wants_its_first_argument() -> None:
    factory = make(cfg(part=thing(second=2)), "part", _partial=True, third=3)
    assert factory("one") == Thing("one", 2, 3)
    assert factory("two") == Thing("two", 2, 3)


def test_an_unknown_argument_is_an_error_with_the_key_and_what_is_near() -> None:
    with pytest.raises(UnknownKeyError) as caught:
        make(cfg(part=thing(first=1, secnd=2)), "part")
    message = str(caught.value)
    assert "'part.secnd'" in message
    assert "Did you mean 'second'?" in message
    assert "first, fourth, second, third" in message


def test_a_given_object_that_the_target_does_not_take_is_an_error() -> None:
    with pytest.raises(XlmError, match=r"Picky.*'noise_schedule'"):
        make(cfg(part={"_target_": f"{HERE}.Picky", "size": 1}), "part", noise_schedule=None)


def test_missing_arguments_are_an_error_that_names_their_keys() -> None:
    with pytest.raises(ComponentError, match=r"needs the arguments first, second: set part\.first, part\.second"):
        make(cfg(part=thing()), "part")
    with pytest.raises(ComponentError, match=r"needs the argument second: set part\.second"):
        make(cfg(part=thing()), "part", first=1)


def test_an_interpolation_that_leads_nowhere_is_an_error_that_names_it() -> None:
    with pytest.raises(XlmError, match=r"vocab\.sise") as caught:
        make(cfg(part=thing(first="${vocab.sise}", second=2)), "part")
    assert "part" in str(caught.value)


def test_a_missing_value_is_an_error_that_names_its_key() -> None:
    with pytest.raises(XlmError, match="first"):
        make(cfg(part=thing(first="???", second=2)), "part")


# -- targets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", [None, 3, "text", {}, {"first": 1}, [1]])
def test_a_node_without_target_is_an_error(node: Any) -> None:
    with pytest.raises(ComponentError, match=r"'part' has no '_target_'"):
        make(cfg(part=node), "part")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("no_such_package.Thing", "No module named 'no_such_package'"),
        ("xlm_runtime.no_such_module.Thing", "No module named 'xlm_runtime.no_such_module'"),
        (f"{HERE}.Thingg", "Did you mean 'Thing'"),
        ("Thing", "dotted path"),
    ],
)
def test_a_target_that_cannot_be_imported_is_an_error(target: str, says: str) -> None:
    with pytest.raises(ComponentError) as caught:
        make(cfg(part={"_target_": target}), "part")
    message = str(caught.value)
    assert says in message
    assert f"'{target}'" in message
    assert "part._target_" in message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_dependency\n", "No module named 'no_such_dependency'"),
        ("def broken(:\n", "SyntaxError"),
        ("raise RuntimeError('no GPU today')\n", "RuntimeError: no GPU today"),
        ("x = 1 / 0\n", "ZeroDivisionError"),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0"),
    ],
)
def test_a_module_that_fails_while_it_is_imported_is_an_error_with_its_own_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, says: str
) -> None:
    (tmp_path / "failing_module.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ComponentError) as caught:
        make(cfg(part={"_target_": "failing_module.Part"}), "part")
    assert says in str(caught.value)
    assert "failing_module.Part" in str(caught.value)


def test_a_nested_target_that_cannot_be_imported_is_an_error() -> None:
    with pytest.raises(XlmError, match="no_such_package"):
        make(cfg(part=thing(first={"_target_": "no_such_package.Thing"}, second=2)), "part")


def test_an_exception_of_a_part_is_an_error_that_names_part_and_key() -> None:
    with pytest.raises(ComponentError, match=r"Picky.*'part'.*ValueError: size is -1"):
        make(cfg(part={"_target_": f"{HERE}.Picky", "size": -1}), "part")


def test_a_users_error_of_a_part_is_left_as_it_is() -> None:
    with pytest.raises(ConfigError, match=r"^at most 9$"):
        make(cfg(part={"_target_": f"{HERE}.Picky", "size": 10}), "part")


@pytest.mark.parametrize(
    ("kind", "method"),
    [("loss", "loss_fn"), ("predictor", "to_dict"), ("model", "forward"), ("collator", "__call__")],
)
def test_a_part_that_lacks_a_method_of_its_contract_is_an_error(kind: str, method: str) -> None:
    with pytest.raises(ContractError, match=rf"NoMethods.*'part'.*{method}\(\).*contract of a {kind}"):
        make(cfg(part={"_target_": f"{HERE}.NoMethods"}), "part", contract=kind)


def test_a_key_that_names_a_part_is_held_to_its_contract() -> None:
    with pytest.raises(ContractError, match="predict"):
        make(cfg(predictor={"_target_": f"{HERE}.NoMethods"}), "predictor")
    assert isinstance(make(cfg(noise_schedule={"_target_": f"{HERE}.NoMethods"}), "noise_schedule"), NoMethods)
