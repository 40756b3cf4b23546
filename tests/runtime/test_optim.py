"""Parameter groups: every trainable parameter once, decay on matrices only, options by part."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from xlm_runtime.errors import ConfigError
from xlm_runtime.optim import parameter_groups


def model() -> nn.Module:
    return nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3))


def decays(groups: list[dict[str, Any]]) -> dict[int, float]:
    """The weight decay of each parameter, by its id; fails if one is there twice."""
    found = [(id(p), group["weight_decay"]) for group in groups for p in group["params"]]
    assert len(found) == len(dict(found))
    return dict(found)


def test_matrices_decay_and_vectors_do_not() -> None:
    net = model()
    found = decays(parameter_groups({"model": net}, 0.1, {}))
    assert found == {id(p): 0.1 if p.ndim >= 2 else 0.0 for p in net.parameters()}
    assert {p.ndim for p in net.parameters()} == {1, 2}


def test_groups_are_named_after_part_and_decay() -> None:
    groups = parameter_groups({"model": model(), "loss": nn.Linear(2, 2, bias=False)}, 0.1, {})
    assert [group["name"] for group in groups] == ["model/decay", "model/no_decay", "loss/decay"]


def test_a_parameter_of_two_parts_belongs_to_the_first() -> None:
    net = model()
    loss = nn.ModuleDict({"model": net, "own": nn.Linear(3, 1)})
    groups = parameter_groups({"model": net, "loss": loss}, 0.1, {"loss": {"lr": 0.5}})
    assert len(decays(groups)) == len(list(loss.parameters()))
    own = {id(p) for group in groups if group["name"].startswith("loss") for p in group["params"]}
    assert own == {id(p) for p in loss["own"].parameters()}


def test_tied_weights_are_there_once() -> None:
    net = nn.ModuleDict({"embedding": nn.Embedding(5, 4), "head": nn.Linear(4, 5, bias=False)})
    net["head"].weight = net["embedding"].weight
    assert len(decays(parameter_groups({"model": net}, 0.1, {}))) == 1


def test_frozen_parameters_are_left_out() -> None:
    net = model()
    net[0].requires_grad_(False)
    found = decays(parameter_groups({"model": net}, 0.1, {}))
    assert set(found) == {id(p) for p in net.parameters() if p.requires_grad}


def test_options_reach_the_groups_of_their_part_alone() -> None:
    parts = {"model": model(), "noise_schedule": nn.Linear(2, 2)}
    groups = parameter_groups(parts, 0.1, {"noise_schedule": {"lr": 0.01, "betas": (0.5, 0.9), "weight_decay": 0.3}})
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.98), weight_decay=0.7)
    settings = {g["name"]: (g["lr"], g["betas"], g["weight_decay"]) for g in optimizer.param_groups}
    assert settings == {
        "model/decay": (1.0, (0.9, 0.98), 0.1),
        "model/no_decay": (1.0, (0.9, 0.98), 0.0),
        "noise_schedule/decay": (0.01, (0.5, 0.9), 0.3),
        "noise_schedule/no_decay": (0.01, (0.5, 0.9), 0.0),
    }


@pytest.mark.parametrize("part", ["losses", "predictor"])
def test_options_of_a_part_without_parameters_of_its_own_are_an_error(part: str) -> None:
    parts = {"model": model(), "predictor": nn.Identity()}
    with pytest.raises(ConfigError, match=rf"optimizer.groups names '{part}'.*own are: model\."):
        parameter_groups(parts, 0.1, {part: {"lr": 1.0}})


def test_a_part_that_only_shares_the_models_parameters_has_none_of_its_own() -> None:
    net = model()
    with pytest.raises(ConfigError, match="'predictor'"):
        parameter_groups({"model": net, "predictor": nn.ModuleDict({"model": net})}, 0.1, {"predictor": {"lr": 1.0}})


def test_the_given_options_are_left_as_they_are() -> None:
    options = {"model": {"weight_decay": 0.5, "lr": 1.0}}
    parameter_groups({"model": model()}, 0.1, options)
    assert options == {"model": {"weight_decay": 0.5, "lr": 1.0}}


def test_no_parameters_are_no_groups() -> None:
    assert parameter_groups({"model": nn.Identity()}, 0.1, {}) == []
