"""The Python API of a saved model: ``load("runs/x").generate(["Once upon a time"], temperature=0.8)``."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn
from transformers import PreTrainedTokenizerBase

from xlm_runtime.build import build_datamodule, make
from xlm_runtime.callbacks.generating import Generating
from xlm_runtime.config import check_values, known_keys
from xlm_runtime.config_groups import PRIMARY
from xlm_runtime.discovery import activate, discover
from xlm_runtime.errors import CheckpointError, ConfigError, UnknownKeyError, did_you_mean
from xlm_runtime.generation import examples_of, generate_rows
from xlm_runtime.harness import Harness
from xlm_runtime.jobs._quiet import quiet
from xlm_runtime.metrics import LoaderKind
from xlm_runtime.predictions import Row
from xlm_runtime.prompts import NOTHING, Prompt, asked_for
from xlm_runtime.saved import SavedRun, load_run
from xlm_runtime.saved_config import saved_config


class LoadedModel:
    """A saved model, ready to generate. ``load`` makes it.

    Attributes:
        cfg: its configuration.
        step: the optimizer step at which it was saved.
        model: the network.
        tokenizer: its vocabulary.
        harness: its parts: model, loss, predictor, noise schedule.
        collator: makes batches of what is to be predicted; None where there is none.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self._saved = load_run(cfg, examples_of(cfg, ()), [Generating(silent=True)])
        self.cfg: DictConfig = self._saved.parts.cfg
        self.step: int = self._saved.step
        self.harness: Harness = self._saved.parts.harness
        self.model: nn.Module = self.harness.model
        self.tokenizer: PreTrainedTokenizerBase = self._saved.parts.tokenizer
        self.collator = self._saved.parts.datamodule.collators.get(LoaderKind.PREDICTION)

    def generate(
        self,
        prompts: Sequence[str] | None = None,
        *,
        num_samples: int | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> list[Row]:
        """A row for each prompt, as ``job_type=generate`` writes it; nothing is written.

        Args:
            prompts: texts to be continued, answered or, with markers such as ``<mask:3>``, filled in; None: texts from
                nothing.
            num_samples: how many of those, 1 if nothing is said; of prompts, the first so many.
            batch_size: prompts a batch; None: the configured one. It changes no text.
            options: of the model's predictor, for this call: ``temperature=0.8, seed=1``.

        Returns:
            ``prompt``, ``text``, ``ids``, ``length``, ``steps``, ``seconds``, ``seed`` and the model's own keys.

        Raises:
            DataError: a prompt that is empty, no text, too long, or not in the model's vocabulary; a malformed marker.
            ConfigError: no list of texts; no number of samples; an option out of its range; markers, or no prompt,
                where the model has no use for that.
            UnknownKeyError: the predictor has no such option.
        """
        asked = _asked(prompts, num_samples)
        if not asked:
            return []
        cfg = copy.deepcopy(self.cfg)
        with open_dict(cfg):
            cfg.predictor = {**(cfg.predictor or {}), **options}
            cfg.datamodule.limit = None
            if batch_size is not None:
                cfg.eval_batch_size = batch_size
        check_values(cfg)
        parts = self._saved.parts
        datamodule = build_datamodule(cfg, parts.tokenizer, examples_of(cfg, asked))
        used: SavedRun = dataclasses.replace(
            self._saved, parts=dataclasses.replace(parts, cfg=cfg, datamodule=datamodule)
        )
        harness, configured = parts.harness, parts.harness.predictor
        try:
            harness.predictor = self._predictor(cfg) if options else configured
            return generate_rows(cfg, used, asked)
        finally:
            harness.predictor = configured

    def _predictor(self, cfg: DictConfig) -> Any:
        harness = self._saved.parts.harness
        made = make(
            cfg, "predictor", model=harness.model, tokenizer=self.tokenizer, noise_schedule=harness.noise_schedule
        )
        if isinstance(made, nn.Module):  # one with weights of its own
            made.load_state_dict(harness.predictor.state_dict())
        return made


def load(source: str | Path, **overrides: Any) -> LoadedModel:
    """A saved model, by its own configuration.

    Args:
        source: a run's directory (its best checkpoint), a ``.ckpt`` file, an exported folder, or
            ``hf://user/name@revision``.
        overrides: keys of the configuration, such as ``seed=1``, or dotted, ``**{"loss.eval_times": 64}``.

    Raises:
        CheckpointError: there is no such thing, or it cannot be read.
        DiscoveryError: the model's package is not found.
        UnknownKeyError: an override that the configuration has no key for.
    """
    quiet()
    activate(discover().models)
    text = str(source)
    path = Path(text)
    is_run = path.is_dir() and not (path / "model.safetensors").is_file()
    if not is_run and not text.startswith("hf://") and not path.exists():
        raise CheckpointError(
            f"There is nothing at {text}. Expected a run's directory, a .ckpt file, an exported folder, or "
            "hf://user/name@revision."
        )
    key = "run_dir" if is_run else "ckpt_path"
    with saved_config([f"{key}={text}"]) as directory:
        file = directory / f"{PRIMARY}.yaml"
        cfg, keys = OmegaConf.load(file), known_keys((), file)
    assert isinstance(cfg, DictConfig)
    for name in overrides:
        if name not in keys:
            raise UnknownKeyError(
                f"load: the configuration of {text} has no key '{name}'. {did_you_mean(name, keys)}\nExpected one of "
                "its keys, dotted where they are nested, as in **{'predictor.seed': 1}: load(...).cfg holds them all."
            )
    with open_dict(cfg):
        for name, value in {"ckpt_path": None, **overrides, key: text}.items():
            OmegaConf.update(cfg, name, value, merge=False)
    check_values(cfg)
    return LoadedModel(cfg)


def _asked(prompts: Sequence[str] | None, num_samples: int | None) -> Sequence[Prompt]:
    if num_samples is not None and (type(num_samples) is not int or num_samples < 0):
        raise ConfigError(f"num_samples is {num_samples!r}; expected a whole number, at least 0, or None.")
    if prompts is None:
        return [NOTHING] * (1 if num_samples is None else num_samples)
    if isinstance(prompts, Iterable) and not isinstance(prompts, Mapping):  # of which the keys would be taken
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not prompts:
            return []
    found = asked_for(prompts)
    return found.prompts[:num_samples] if found else []
