"""Config files that say what cannot be: each is an error that names file and line, before Hydra reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_parts as tiny
from model_repositories import write

from xlm_runtime.config import compose
from xlm_runtime.errors import ConfigError, ConfigNotFoundError, ConfigSyntaxError, UnknownKeyError


@pytest.fixture(autouse=True)
def models() -> Iterator[None]:
    with tiny.reference_models():
        yield


DEFAULTS = """\
# @package _global_
defaults:
  - override /model: arlm
  - override /model_type: arlm
"""


@pytest.mark.parametrize(
    ("text", "line", "kind", "says"),
    [
        ("trainer: {max_steps: 3\nmonitor: x\n", 6, ConfigSyntaxError, "not valid YAML"),
        ("seed: 1\nnull: 1\n", 6, ConfigSyntaxError, "found null as a key"),
        ("[seed]: 1\n", 5, ConfigSyntaxError, "found a list as a key"),
        ("trainer:\n  ~: 1\n", 6, ConfigSyntaxError, "found null as a key"),
        ("monitor: &a\n  metric: *a\n", 5, ConfigSyntaxError, "holds itself"),
        ("evaluators: &a [*a]\n", 5, ConfigSyntaxError, "holds itself"),
        ("trainer: [1]\n", 5, ConfigError, "trainer is a list; expected a mapping"),
        ("metrics: []\n", 5, ConfigError, "metrics is a list; expected a mapping"),
        ("seed: 1\nlogger: []\n", 6, ConfigError, "logger is a list; expected a mapping"),
        ("loss: cross_entropy\n", 5, ConfigError, "loss is cross_entropy; expected a mapping"),
        ("monitor: val/loss\n", 5, ConfigError, "monitor is val/loss; expected a mapping"),
        ("metrics:\n  lm: [a]\n", 6, ConfigError, "metrics.lm is a list; expected a mapping"),
        ("datamodule: {splits: val}\n", 5, ConfigError, "datamodule.splits is val; expected a mapping"),
        ("on: 1\n", 5, ConfigSyntaxError, "YAML reads the key 'on' as a truth value"),
    ],
)
def test_what_an_experiment_cannot_say(own: Path, text: str, line: int, kind: type[Exception], says: str) -> None:
    file = write(own / "experiment" / "bad_own.yaml", DEFAULTS + text)
    with pytest.raises(kind) as caught:
        compose(["experiment=bad_own"])
    message = str(caught.value)
    assert message.startswith(f"{file}, line {line}")
    assert says in message


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("defaults:\nseed: 5\n", 1, "'defaults' is nothing; expected a list"),
        ("defaults:\n  - override model: arlm\n", 2, "Expected 'override /model'"),
        ("defaults:\n  - model: arlm\n", 2, "Expected '/model'"),
        ("defaults:\n  - lr_scheduler@schedule: constant\n", 2, "Expected '/lr_scheduler@schedule'"),
        ("defaults:\n  - override /model: arlm\n  - /optimizer@other: adamw\n", 3, "move this one before"),
        ("defaults:\n  - override /model: arlm\n  - star_easy_arlm\n", 3, "move this one before"),
        ("defaults:\n  - override hydra/job_logging: none\n", 2, "Expected 'override /hydra/job_logging'"),
        ("defaults:\n  - 5\n", 2, "found only the value '5' in the defaults list"),
        ("defaults:\n  -\n", 2, "found nothing in the defaults list"),
        ("defaults:\n  - [a]\n", 2, "found a list in the defaults list"),
        ("defaults:\n  - /model: {name: x}\n", 2, "found a mapping in the defaults list"),
        ("defaults:\n  - override /model: arlm\n    override /model_type: arlm\n", 2, "several groups in one item"),
        ("defaults:\n  - override /model arlm\n", 2, "is a ':' missing?"),
    ],
)
def test_what_a_defaults_list_cannot_say(own: Path, text: str, line: int, says: str) -> None:
    file = write(own / "experiment" / "bad_own.yaml", text)
    with pytest.raises(ConfigError) as caught:
        compose(["experiment=bad_own"])
    assert str(caught.value).startswith(f"{file}, line {line}")
    assert says in str(caught.value)


def test_what_looks_like_these_and_is_none_of_them(own: Path) -> None:
    write(own / "model" / "trainer" / "own.yaml", "dropout: 0.5\n")
    write(own / "model" / "own.yaml", "defaults:\n  - arlm\n  - trainer@_here_: own\n")
    text = """\
defaults:
  - override /model: own
  - override /model_type: arlm
  - override /datamodule: star_easy_arlm
  - _self_
optimizer: &mine {lr: 0.5}
logger: null
"""
    write(own / "experiment" / "mine_own.yaml", text.replace("+scale: null\n", ""))
    cfg = compose(["experiment=mine_own"])
    assert (cfg.model.dropout, cfg.optimizer.lr, cfg.logger) == (0.5, 0.5, None)


def test_files_below_an_experiment_may_be_put_elsewhere(own: Path) -> None:
    write(own / "experiment" / "sizes" / "big.yaml", "# @package model\nd_model: 64\n")
    write(own / "experiment" / "parts" / "own.yaml", "optimizer: 5\n")
    text = (
        "defaults:\n  - star_easy_arlm\n  - sizes: big\n  - parts@predictor.own: own\n  - _self_\nnoise_schedule: ???\n"
    )
    write(own / "experiment" / "mine_own.yaml", text)
    cfg = compose(["experiment=mine_own"])
    assert (cfg.model.d_model, cfg.predictor.own.optimizer) == (64, 5)


def test_a_group_that_is_chosen_later(own: Path) -> None:
    write(own / "experiment" / "mine_own.yaml", DEFAULTS + "  - override /debug: overfit\n")
    with pytest.raises(UnknownKeyError, match=r"'experiment/mine_own' overrides the group 'debug'.*debug=<name>"):
        compose(["experiment=mine_own"])


def test_a_file_that_is_chosen_is_named_and_no_other(own: Path) -> None:
    file = write(own / "experiment" / "mine_own.yaml", DEFAULTS + "monitor: {max_steps: 5}\n")
    with pytest.raises(UnknownKeyError) as caught:
        compose(["experiment=mine_own"])
    assert f"Written in {file}, line 5.\n" in str(caught.value)


@pytest.mark.parametrize("group", ["experiment", "model_type"])
def test_a_header_that_puts_a_file_elsewhere(own: Path, group: str) -> None:
    file = write(own / group / "bad_own.yaml", "# A note.\n# @package loss.more\nseed: 1\n")
    with pytest.raises(ConfigError) as caught:
        compose([f"{group}=bad_own"])
    assert str(caught.value).startswith(f"{file}, line 2: '# @package loss.more'")
    assert "# @package _global_" in str(caught.value)


def test_a_header_that_leads_to_no_key_is_where_the_key_is_written(own: Path) -> None:
    file = write(own / "model" / "own.yaml", "# @package network\nwidth: 1\n")
    with pytest.raises(UnknownKeyError, match=f"'network'(?s:.*){file}, line 1"):
        compose(["model=own"])


def test_a_file_of_another_suffix_is_named(own: Path) -> None:
    file = write(own / "experiment" / "short_own.yml", DEFAULTS)
    with pytest.raises(ConfigNotFoundError, match="rename it") as caught:
        compose(["experiment=short_own"])
    assert f"There is {file}" in str(caught.value)
    assert "Searched" not in str(caught.value)
