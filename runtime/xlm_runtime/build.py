"""Configuration to objects: the only place that instantiates.

The order is fixed, and each part gets everything it needs in its ``__init__``::

    tokenizer -> dataset -> datamodule (collators) -> noise schedule -> model -> loss -> predictor
              -> metrics -> Harness -> callbacks -> loggers -> Trainer
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from hydra.errors import HydraException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torchmetrics import Metric
from transformers import PreTrainedTokenizerBase

from xlm_runtime.checkpoint_io import CheckpointFiles
from xlm_runtime.component_checks import (
    check_arguments,
    check_contract,
    check_kind,
    error_text,
    raised,
    what_is_missing,
)
from xlm_runtime.config import set_vocab
from xlm_runtime.config_source import written_in
from xlm_runtime.contracts import call_problem
from xlm_runtime.datamodule import DataModule
from xlm_runtime.errors import ComponentError, ConfigError, ContractError, UnknownKeyError, XlmError
from xlm_runtime.harness import VALIDATION, Harness
from xlm_runtime.locate import locate as locate
from xlm_runtime.metrics import LoaderKind, MetricSet
from xlm_runtime.tokenizers import vocab_facts
from xlm_runtime.trainer_checks import check_precision, settle


@dataclass(frozen=True)
class Parts:
    """What a run is made of, less its Trainer."""

    cfg: DictConfig
    tokenizer: PreTrainedTokenizerBase
    datamodule: DataModule
    harness: Harness


#: Makes what a datamodule reads, in the place of the configured dataset, of a tokenizer and the collators by kind.
MakeExamples = Callable[[PreTrainedTokenizerBase, dict[str, Any]], Any]


def build_parts(cfg: DictConfig, run_dir: Path | None = None, examples: MakeExamples | None = None) -> Parts:
    """Make every part of a run. Writes the tokenizer's facts into ``cfg.vocab``.

    Args:
        cfg: a composed configuration.
        run_dir: where the Harness writes prediction rows; None writes none.
        examples: makes what is predicted; None: the configured dataset.

    Raises:
        XlmError: a part cannot be imported or made, or lacks a method of its contract; names the config key.
    """
    _require(cfg, "model", "a model: give experiment=..., or model=... model_type=...")
    _require(cfg, "loss", "a loss: give experiment=..., or model_type=...")
    _require(cfg, "dataset", "a dataset: give experiment=..., or datamodule=<dataset>_<model>")
    tokenizer = build_tokenizer(cfg)
    datamodule = build_datamodule(cfg, tokenizer, examples)
    noise_schedule = make(cfg, "noise_schedule") if cfg.get("noise_schedule") else None
    model = make(cfg, "model")
    shared = {"model": model, "tokenizer": tokenizer, "noise_schedule": noise_schedule}
    loss = make(cfg, "loss", **shared)
    predictor = make(cfg, "predictor", **shared) if cfg.get("predictor") else None
    if LoaderKind.PREDICTION in datamodule.eval_kinds and predictor is None:
        raise ConfigError("datamodule.collators.prediction is set, but predictor is not: set both or neither.")
    optimizer, weight_decay, groups = _optimizer(cfg)
    harness = make(
        cfg,
        "harness",
        model=model,
        loss=loss,
        predictor=predictor,
        noise_schedule=noise_schedule,
        metrics={
            (split, kind): _metric_set(cfg, kind)
            for split in {VALIDATION, datamodule.eval_split}
            for kind in datamodule.eval_kinds
        },
        eval_kinds=datamodule.eval_kinds,
        eval_split=datamodule.eval_split,
        optimizer=optimizer,
        weight_decay=weight_decay,
        optimizer_groups=groups,
        lr_scheduler=make(cfg, "lr_scheduler", _partial=True) if cfg.get("lr_scheduler") else None,
        compile=cfg.compile,
        run_dir=run_dir,
        config=OmegaConf.to_yaml(cfg),
    )
    return Parts(cfg, tokenizer, datamodule, harness)


def build_tokenizer(cfg: DictConfig) -> PreTrainedTokenizerBase:
    """The tokenizer; its facts are written into ``cfg.vocab``."""
    _require(cfg, "tokenizer", "a tokenizer: a dataset config names one")
    tokenizer: PreTrainedTokenizerBase = make(cfg, "tokenizer")
    set_vocab(cfg, vocab_facts(tokenizer))
    return tokenizer


def build_datamodule(
    cfg: DictConfig, tokenizer: PreTrainedTokenizerBase, examples: MakeExamples | None = None
) -> DataModule:
    """The dataset, or what ``examples`` makes, a collator for each loader kind, and the loaders over them."""
    _require(cfg, "datamodule", "a datamodule: give datamodule=<dataset>_<model>")
    kinds = cfg.datamodule.get("collators") or {}
    if unknown := [str(kind) for kind in kinds if kind not in list(LoaderKind)]:
        raise UnknownKeyError(
            f"datamodule.collators names {', '.join(unknown)}; the loader kinds are: {', '.join(LoaderKind)}."
        )
    collators = {
        kind: make(cfg, f"datamodule.collators.{kind}", contract="collator", tokenizer=tokenizer)
        if kinds[kind]
        else None
        for kind in kinds
    }
    dataset = build_dataset(cfg, tokenizer) if examples is None else examples(tokenizer, collators)
    datamodule: DataModule = make(cfg, "datamodule", leave=("collators",), dataset=dataset, collators=collators)
    return datamodule


def build_dataset(cfg: DictConfig, tokenizer: PreTrainedTokenizerBase) -> Any:
    """The dataset, which the tokenizer was made for."""
    _require(cfg, "dataset", "a dataset: give experiment=..., or datamodule=<dataset>_<model>")
    return make(cfg, "dataset", tokenizer=tokenizer)


#: What the Trainer takes from two groups.
_LIGHTNINGS: dict[str, type] = {"callbacks": pl.Callback, "logger": Logger}


def _make_all(cfg: DictConfig, group: str) -> list[Any]:
    kind = _LIGHTNINGS[group]
    made = {f"{group}.{name}": make(cfg, f"{group}.{name}") for name, node in (cfg.get(group) or {}).items() if node}
    for key, part in made.items():
        check_kind(part, kind, key)
    return list(made.values())


def build_trainer(cfg: DictConfig, **changes: Any) -> pl.Trainer:
    """Callbacks, loggers, Trainer.

    Args:
        cfg: a composed configuration.
        changes: Trainer arguments of the job that override the configuration.
    """
    quick = bool(cfg.trainer.get("fast_dev_run"))  # writes nothing: Lightning switches loggers and checkpoints off
    # Only what the job asks for is made: eval must not fail because of a logger that training had.
    callbacks = [] if "callbacks" in changes else _make_all(cfg, "callbacks")
    loggers = [] if quick or "logger" in changes else _make_all(cfg, "logger")
    if quick:
        callbacks = [callback for callback in callbacks if not isinstance(callback, pl.callbacks.Checkpoint)]
    settings: dict[str, Any] = {
        "callbacks": callbacks,
        "plugins": [CheckpointFiles()],
        "logger": loggers or False,
        "enable_progress_bar": False,  # the progress callback is ours
        "enable_model_summary": False,
        "enable_checkpointing": not quick,
        "default_root_dir": str(cfg.run_dir),
        **changes,
    }
    try:
        trainer: pl.Trainer = make(cfg, "trainer", leave=tuple(changes), **settings)
    except ComponentError as error:
        if isinstance(error.__cause__, MisconfigurationException):
            lines = [f"There can be no trainer of this configuration: {error.__cause__}"]
            if re.search(r"(?i)accelerator|device|gpu|cuda|mps|strategy|node", lines[0]):
                lines.append(
                    f"trainer.accelerator is {cfg.trainer.accelerator}, trainer.devices is {cfg.trainer.devices}; "
                    "trainer.accelerator=auto takes what this machine has."
                )
            raise ConfigError("\n".join(lines)) from error
        raise
    trains = "devices" not in changes  # an evaluation has a device of its own
    check_precision(trainer, cfg, trains)
    if trains:
        settle(trainer, cfg)
    return trainer


def make(
    cfg: DictConfig,
    key: str,
    *,
    contract: str | None = None,
    leave: tuple[str, ...] = (),
    _partial: bool = False,
    **objects: Any,
) -> Any:
    """The object that the node at ``key`` describes.

    Args:
        cfg: the whole configuration, against which interpolations are resolved.
        key: dotted path of a node with a ``_target_``.
        contract: the kind of part whose methods the object must have; by default the key itself.
        leave: keys of the node that are given in ``objects`` instead.
        _partial: return a function that still wants its first argument.
        objects: built parts, passed by keyword as they are.

    Raises:
        UnknownKeyError: the target takes no such argument.
        ComponentError: the target cannot be imported, or raised.
        ContractError: the object lacks a method.
    """
    node = OmegaConf.select(cfg, key)
    if not OmegaConf.is_dict(node) or not node.get("_target_"):
        raise ComponentError(f"The config node '{key}' has no '_target_': expected the dotted path of a class.")
    target = _locate(str(node._target_), f"config key '{key}._target_'")
    factory = None
    try:
        plain = OmegaConf.masked_copy(node, [name for name in node if name not in leave]) if leave else node
        plain._set_parent(node._get_parent())
        given = {str(name) for name in plain if name not in ("_target_", "_convert_", "_partial_", "_recursive_")}
        asked = bool(node.get("_partial_"))  # a function that the config leaves without its last arguments
        check_arguments(target, key, given, set(objects), partial=_partial or asked)
        factory = instantiate(plain, _partial_=True, _convert_="all")
        if _partial:
            return functools.partial(_make_later, factory, str(node._target_), key, **objects)
        made = functools.partial(factory, **objects) if asked else factory(**objects)
    except XlmError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        lines = (f"The config node '{key}' cannot be made: {error_text(cause)}", what_is_missing(str(cause)))
        raise ComponentError("\n".join(filter(None, lines))) from error
    except Exception as error:
        raise raised(str(node._target_), key, error, factory) from error
    check_contract(made, contract or key, key, str(node._target_))
    return made


def _locate(path: str, named: str) -> Any:
    try:
        return locate(path, named)
    except ComponentError as error:
        place = written_in(rf":\s*['\"]?{re.escape(path)}['\"]?\s*([,}}#]|$)")
        raise type(error)("\n".join(filter(None, (str(error), place)))) from error


def _make_later(factory: Callable[..., Any], target: str, key: str, *first: Any, **objects: Any) -> Any:
    try:
        return factory(*first, **objects)
    except XlmError:
        raise
    except Exception as error:
        raise raised(target, key, error, factory) from error


def _metric_set(cfg: DictConfig, kind: LoaderKind) -> MetricSet:
    metrics, updates = {}, {}
    for name, node in (OmegaConf.select(cfg, f"metrics.{kind}") or {}).items():
        if not node:
            continue
        key = f"metrics.{kind}.{name}"
        if not OmegaConf.is_dict(node):
            raise ConfigError(f"'{key}' is {node!r}; expected a mapping with the keys 'metric' and 'update'.")
        if unknown := [str(k) for k in node if k not in ("metric", "update", "means")]:
            raise UnknownKeyError(f"'{key}' holds '{unknown[0]}': a metric has the keys 'metric', 'update', 'means'.")
        if not node.get("update"):
            raise ConfigError(f"'{key}' lacks 'update': the dotted path of a function (batch, output) -> dict.")
        metrics[str(name)] = check_kind(make(cfg, f"{key}.metric"), Metric, f"{key}.metric")
        updates[str(name)] = update = _locate(str(node["update"]), f"config key '{key}.update'")
        if problem := call_problem(update, ("batch", "output")):
            raise ContractError(f"{node['update']}{problem} (config key '{key}.update').")
    return MetricSet(metrics, updates)


def _optimizer(cfg: DictConfig) -> tuple[Any, float, dict[str, Any]]:
    groups: Any = OmegaConf.to_container(cfg.optimizer.get("groups") or OmegaConf.create({}), resolve=True)
    factory = make(cfg, "optimizer", leave=("groups",), _partial=True)
    decay = cfg.optimizer.get("weight_decay") or 0.0
    if not isinstance(decay, int | float) or decay < 0:
        raise ConfigError(f"optimizer.weight_decay is {decay!r}: expected a number, 0 or more, or null.")
    return factory, float(decay), groups


def _require(cfg: DictConfig, key: str, what: str) -> None:
    if not cfg.get(key):
        raise ConfigError(f"The configuration has no '{key}'. Every job needs {what}. `xlm` lists what there is.")
