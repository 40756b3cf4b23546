"""Composition: what an experiment is made of, what a saved configuration keeps, what a typo gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import hydra
import pytest
import tiny_parts as tiny
from hydra import initialize_config_dir, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from model_repositories import write
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xlm_runtime.config import compose, install_plugins, set_vocab
from xlm_runtime.errors import ConfigError, ConfigNotFoundError, UnknownKeyError
from xlm_runtime.runs import save_config

EXPERIMENTS = sorted(
    file.stem for file in (tiny.REPOSITORY / "reference-models" / "arlm" / "configs" / "experiment").glob("*.yaml")
)


@pytest.fixture(autouse=True)
def models() -> Iterator[None]:
    with tiny.reference_models():
        yield


# -- how many files, how deep ------------------------------------------------------------------------------


def files_of(experiment: str) -> dict[str, str | None]:
    """Each configuration file that an experiment is composed of, and the file whose defaults list asks for it."""
    install_plugins()
    GlobalHydra.instance().clear()
    with initialize_config_module("xlm_runtime.configs", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        found = loader.compute_defaults_list("config", [f"experiment={experiment}"], RunMode.RUN)
    return {
        item.config_path: item.parent
        for item in found.defaults
        if item.config_path is not None and not item.config_path.startswith(("hydra", "_dummy"))
    }


def depth(file: str, parents: Mapping[str, str | None]) -> int:
    """Steps up to the primary configuration."""
    parent = parents[file]
    return 0 if file == "config" or parent is None else 1 + depth(parent, parents)


def test_the_star_experiments_are_these() -> None:
    assert {"star_easy_arlm", "star_medium_arlm", "star_hard_arlm", "star_easy_reversed_arlm"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_is_at_most_15_files_and_three_levels(experiment: str) -> None:
    parents = files_of(experiment)
    assert {"config", "model/arlm", "model_type/arlm", f"experiment/{experiment}", "trainer/default"} <= set(parents)
    assert len(parents) <= 15, sorted(parents)
    depths = {file: depth(file, parents) for file in parents}
    assert max(depths.values()) <= 3, depths
    assert depths["config"] == 0


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_interpolation_of_an_experiment_can_be_resolved(experiment: str) -> None:
    cfg = compose([f"experiment={experiment}"])
    set_vocab(cfg, dict.fromkeys(cfg.vocab, 1))
    resolved = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    assert resolved["model"]["vocab_size"] == 1


@pytest.mark.parametrize("size", ["arlm", "arlm_small", "arlm_tiny2", "arlm_xtiny2"])
def test_each_size_of_the_model_may_be_chosen_and_overfitted(size: str) -> None:
    cfg = compose(["experiment=star_easy_arlm", f"model={size}", "debug=overfit"])
    assert (cfg.model.d_model, cfg.model.num_layers, cfg.model.dropout) == (128, 2, 0.0)
    assert cfg.datamodule.limit == cfg.batch_size
    assert cfg.callbacks.early_stopping.stopping_threshold <= 1.0


# -- what is composed --------------------------------------------------------------------------------------


def test_the_command_line_is_heard_last() -> None:
    cfg = compose(["experiment=star_easy_arlm", "trainer.max_steps=3", "dataset.num_nodes=31"])
    assert cfg.trainer.max_steps == 3
    assert cfg.tokenizer.size == 31


def test_a_whole_number_may_be_written_with_an_exponent() -> None:
    cfg = compose(["experiment=star_easy_arlm", "trainer.max_steps=1e3", "batch_size=2e1"])
    assert [type(value) for value in (cfg.trainer.max_steps, cfg.batch_size)] == [int, int]
    assert (cfg.trainer.max_steps, cfg.batch_size) == (1000, 20)


def test_model_and_model_type_alone_choose_star_easy() -> None:
    cfg = compose(["model=arlm", "model_type=arlm"])
    assert cfg.dataset == compose(["experiment=star_easy_arlm"]).dataset
    assert cfg.datamodule.collators.lm._target_ == "arlm.datamodule_arlm.ArlmSeq2SeqCollator"


def test_evaluation_takes_the_training_batch_size_unless_told_otherwise() -> None:
    assert compose(["batch_size=5"]).datamodule.eval_batch_size == 5
    assert compose(["batch_size=5", "eval_batch_size=7"]).datamodule.eval_batch_size == 7


def test_composing_leaves_no_trace_in_hydra() -> None:
    compose(["batch_size=5"])
    assert not GlobalHydra.instance().is_initialized()
    assert compose().batch_size == 64


def test_two_compositions_are_equal_and_apart() -> None:
    first, second = compose(["experiment=star_easy_arlm"]), compose(["experiment=star_easy_arlm"])
    assert first == second
    first.batch_size = 1
    assert second.batch_size != 1


# -- saved and read again ----------------------------------------------------------------------------------


def reload(directory: Path, *overrides: str) -> DictConfig:
    """A saved configuration, composed as a job on a saved run composes it."""
    with initialize_config_dir(str(directory.resolve()), version_base="1.3"):
        return hydra.compose("config", overrides=list(overrides))


def test_a_saved_configuration_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    cfg = compose(["experiment=star_hard_arlm", "seed=7"])
    set_vocab(cfg, {"size": 63, "pad": 0})
    save_config(tmp_path, cfg)
    assert reload(tmp_path) == cfg
    assert reload(tmp_path).model.vocab_size == 63


def test_an_override_of_a_saved_configuration_reaches_what_depends_on_it(tmp_path: Path) -> None:
    cfg = compose(["experiment=star_easy_arlm"])
    save_config(tmp_path, cfg)
    again = reload(tmp_path, "split=val", "eval_batch_size=3", "run_dir=elsewhere", "seed=5")
    assert again.datamodule.eval_split == "val"
    assert again.datamodule.eval_batch_size == 3
    assert again.callbacks.best.dirpath == "elsewhere/checkpoints"
    assert again.predictor.seed == again.datamodule.seed == 5
    assert reload(tmp_path, "job_name=x").run_dir == "runs/x"


def test_a_saved_configuration_does_not_hold_what_was_only_interpolated(tmp_path: Path) -> None:
    save_config(tmp_path, compose(["experiment=star_easy_arlm"]))
    text = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    assert "eval_batch_size: ${eval_batch_size}" in text
    assert "vocab_size: ${vocab.size}" in text


def test_the_vocabulary_is_written_over_the_missing_values() -> None:
    cfg = compose(["experiment=star_easy_arlm"])
    with pytest.raises(OmegaConfBaseException):
        _ = cfg.model.vocab_size
    set_vocab(cfg, {"size": 27, "pad": 0})
    assert cfg.model.vocab_size == 27
    assert cfg.vocab == {"size": 27, "pad": 0}


# -- a model's own files -----------------------------------------------------------------------------------


HEADER = "# @package _global_\n"
EXPERIMENT = """\
defaults:
  - override /model: arlm
  - override /model_type: arlm
  - override /datamodule: star_easy_arlm

seed: 77
trainer: {max_steps: 12}
"""


@pytest.mark.parametrize("header", ["", HEADER, "# A comment.\n" + HEADER])
def test_an_experiment_sets_keys_of_the_whole_with_or_without_its_header(own: Path, header: str) -> None:
    write(own / "experiment" / "mine_own.yaml", header + EXPERIMENT)
    cfg = compose(["experiment=mine_own"])
    assert (cfg.seed, cfg.trainer.max_steps) == (77, 12)
    assert cfg.model._target_ == "arlm.model_arlm.ArlmModel"
    assert cfg.dataset.num_arms == 3


@pytest.mark.parametrize("header", ["", HEADER])
def test_a_model_type_sets_keys_of_the_whole_with_or_without_its_header(own: Path, header: str) -> None:
    write(own / "model_type" / "own.yaml", header + "loss:\n  _target_: own.loss.Loss\n")
    assert compose(["model_type=own", "datamodule=star_easy_arlm"]).loss._target_ == "own.loss.Loss"


def test_an_experiment_may_build_on_another_one(own: Path) -> None:
    write(own / "experiment" / "mine_own.yaml", EXPERIMENT)
    write(own / "experiment" / "more_own.yaml", "defaults:\n  - mine_own\n  - _self_\n\nseed: 78\n")
    cfg = compose(["experiment=more_own"])
    assert (cfg.seed, cfg.trainer.max_steps) == (78, 12)


def test_a_group_of_ones_own_is_a_key_of_the_configuration(own: Path) -> None:
    write(own / "reward" / "own.yaml", "_target_: own.Reward\nscale: 2\n")
    assert compose(["+reward=own"]).reward.scale == 2


def test_a_key_that_nobody_declares_is_refused_in_an_experiment(own: Path) -> None:
    write(own / "experiment" / "typo_own.yaml", EXPERIMENT + "batchsize: 3\n")
    with pytest.raises(UnknownKeyError, match=r"'batchsize'(?s:.*)'batch_size'"):
        compose(["experiment=typo_own"])


# -- typos -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "suggestion"),
    [
        ("batchsize=3", "batch_size"),
        ("trainer.max_step=3", "trainer.max_steps"),
        ("trianer.max_steps=3", "trainer.max_steps"),
        ("optimizer.learning_rate=3", "+optimizer.learning_rate"),
        ("max_steps=3", "trainer.max_steps"),
        ("lr=3", "optimizer.lr"),
        ("model.d_modle=3", "model.d_model"),
        ("dataset.num_node=3", "dataset.num_nodes"),
    ],
)
def test_a_mistyped_key_is_an_error_that_names_it_and_the_right_one(override: str, suggestion: str) -> None:
    with pytest.raises(UnknownKeyError) as caught:
        compose(["experiment=star_easy_arlm", override])
    assert f"'{override.partition('=')[0]}'" in str(caught.value)
    assert suggestion in str(caught.value)


def test_a_key_that_exists_is_not_called_unknown_and_suggested_again() -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["experiment=star_easy_arlm", "callbacks.progress={colour: red}"])
    assert "+callbacks.progress" in str(caught.value)
    assert "Did you mean 'callbacks.progress'" not in str(caught.value)


@pytest.mark.parametrize(
    ("group", "name", "near"),
    [
        ("experiment", "star_easy_arml", "star_easy_arlm"),
        ("model", "arlm_smal", "arlm_small"),
        ("debug", "overfitt", "overfit"),
        ("lr_scheduler", "cosin", "cosine"),
        ("dataset@dataset", "star_eazy", "star_easy"),
    ],
)
def test_a_missing_option_is_an_error_that_lists_what_exists(group: str, name: str, near: str) -> None:
    words = ["experiment=star_easy_arlm"] if group not in ("experiment", "dataset@dataset") else []
    with pytest.raises(ConfigNotFoundError) as caught:
        compose([*words, f"{'+' if '@' in group else ''}{group}={name}"])
    message = str(caught.value)
    assert f"{group.partition('@')[0]}/{name}" in message
    assert f"'{near}'" in message


def test_an_experiment_of_an_unknown_model_names_the_models_and_the_places_searched() -> None:
    with pytest.raises(ConfigNotFoundError) as caught:
        compose(["experiment=star_easy_zebra"])
    message = str(caught.value)
    assert "arlm" in message
    assert "xlm_models.json" in message
    assert "XLM_MODELS_PATH" in message


def test_a_key_may_be_added_with_a_plus() -> None:
    assert compose(["+optimizer.amsgrad=true"]).optimizer.amsgrad is True
