"""What a whole configuration becomes: the parts of a job, and the errors of those that cannot be built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import tiny_parts as tiny
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from xlm_runtime.build import Parts, build_parts
from xlm_runtime.errors import ComponentError, ConfigError, UnknownKeyError, XlmError
from xlm_runtime.metrics import ExpMean, LoaderKind


@pytest.fixture(scope="module")
def parts(cache: Path) -> Parts:
    pl.seed_everything(0, verbose=False)
    return build_parts(tiny.arlm_config(cache, "optimizer.lr=0.01", "+optimizer.groups.model.eps=0.5"))


def changed(cache: Path, key: str, value: Any) -> DictConfig:
    composed = tiny.arlm_config(cache)
    with open_dict(composed):
        OmegaConf.update(composed, key, value, merge=False)
    return composed


def test_the_parts_share_one_model_and_one_tokenizer(parts: Parts) -> None:
    harness = parts.harness
    assert harness.loss.model is harness.predictor.model is harness.model
    assert harness.loss.tokenizer is harness.predictor.tokenizer is parts.tokenizer


def test_the_tokenizers_facts_are_in_the_configuration_and_reach_the_model(parts: Parts) -> None:
    assert parts.cfg.vocab == {
        "size": 27, "pad": 0, "cls": 1, "mask": 2, "eos": 3, "bos": 4, "sep": 5, "unk": 6,
    }  # fmt: skip
    assert parts.harness.model.embedding.num_embeddings == len(parts.tokenizer) == 27
    assert OmegaConf.create(parts.harness.config).vocab == parts.cfg.vocab


def test_metrics_are_built_for_validation_and_the_evaluated_split(parts: Parts) -> None:
    assert set(parts.harness.metric_sets) == {(split, kind) for split in ("val", "test") for kind in LoaderKind}
    names = {str(kind): set(parts.harness.metric_sets["val", kind].metrics) for kind in LoaderKind}
    assert names == {"lm": {"loss", "perplexity"}, "prediction": {"exact_match", "token_accuracy"}}
    first, second = (parts.harness.metric_sets[split, LoaderKind.LM].metrics for split in ("val", "test"))
    assert isinstance(first["perplexity"], ExpMean)
    assert first["perplexity"] is not second["perplexity"]


def test_the_optimizer_and_the_scheduler_are_those_of_the_configuration(parts: Parts) -> None:
    made = parts.harness.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]
    assert type(optimizer) is torch.optim.AdamW
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert set(groups) == {"model/decay", "model/no_decay"}
    assert [(g["weight_decay"], g["betas"], g["eps"]) for g in groups.values()] == [
        (0.1, (0.9, 0.98), 0.5),
        (0.0, (0.9, 0.98), 0.5),
    ]
    assert schedule["interval"] == "step"
    assert schedule["scheduler"].optimizer is optimizer
    rates = []
    for _ in range(202):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    assert rates[0] == 0.0 and rates[100] == pytest.approx(0.005) and rates[200] == rates[201] == pytest.approx(0.01)


def test_a_decaying_schedule_ends_with_the_training(cache: Path) -> None:
    composed = tiny.arlm_config(
        cache, "lr_scheduler=linear", "lr_scheduler.num_warmup_steps=2", "trainer.max_steps=10", "optimizer.lr=1.0"
    )
    made = build_parts(composed).harness.configure_optimizers()
    rates = []
    for _ in range(11):
        rates.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert rates == pytest.approx([0, 0.5, *[1 - i / 8 for i in range(9)]])


def test_without_a_scheduler_the_rate_is_constant(cache: Path) -> None:
    optimizer = build_parts(changed(cache, "lr_scheduler", None)).harness.configure_optimizers()
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["lr"] == 1e-3


@pytest.mark.parametrize(
    ("key", "value", "error", "says"),
    [
        ("model", None, ConfigError, "model"),
        ("loss", None, ConfigError, "loss"),
        ("dataset", None, ConfigError, "dataset"),
        ("tokenizer", None, ConfigError, "tokenizer"),
        ("predictor", None, ConfigError, "predictor"),
        ("datamodule.collators.train", {"_target_": "x.Y"}, UnknownKeyError, "train.*lm, prediction"),
        ("metrics.lm.loss.update", None, ConfigError, "'metrics.lm.loss' lacks 'update'"),
        ("metrics.lm.loss.weight", 1, UnknownKeyError, "'metrics.lm.loss' holds 'weight'"),
        ("metrics.lm.loss.update", "arlm.metrics_arlm.nl", ComponentError, r"metrics\.lm\.loss\.update.*'nll'"),
        ("metrics.lm.loss.metric._target_", "torchmetrics.Mean", ComponentError, r"metrics\.lm\.loss\.metric"),
        ("loss._target_", "arlm.model_arlm.init_weights", XlmError, "loss"),
        ("optimizer.lrr", 1, UnknownKeyError, r"optimizer\.lrr.*'lr'"),
        ("lr_scheduler.num_warmup", 1, UnknownKeyError, r"lr_scheduler\.num_warmup"),
        ("optimizer._target_", "torch.optim.Adamm", ComponentError, "Adam"),
    ],
)
def test_what_cannot_be_built_is_an_error(cache: Path, key: str, value: Any, error: type[XlmError], says: str) -> None:
    with pytest.raises(error, match=f"(?s){says}"):
        build_parts(changed(cache, key, value))


def test_a_model_without_predictor_and_prediction_collator_is_built(cache: Path) -> None:
    composed = changed(cache, "predictor", None)
    composed.datamodule.collators.prediction = None
    built = build_parts(composed)
    assert built.harness.predictor is None
    assert built.harness.eval_kinds == [LoaderKind.LM]
