"""A saved run as a folder: whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from xlm_runtime import __version__, exported
from xlm_runtime.contracts import Seq2SeqCollatorPrediction, ToTransformers, inherits
from xlm_runtime.errors import CheckpointError, ConfigError
from xlm_runtime.files import write_text
from xlm_runtime.kept_command import as_metadata, command_of
from xlm_runtime.metrics import LoaderKind
from xlm_runtime.model_card import Measured, model_card
from xlm_runtime.options import check_choice
from xlm_runtime.progress_line import without_bars
from xlm_runtime.report.run_files import read_run
from xlm_runtime.report.run_report import intervals
from xlm_runtime.saved import SavedRun
from xlm_runtime.weights import weights_fingerprint

FORMATS = ("xlm", "transformers")

#: What a run is asked for, which is no property of the model.
_OF_THE_JOB = ("ckpt_path", "prompts", "prompts_file", "num_samples", "label", "export_dir", "repo_id")

#: Words of a command line that say where something lies on a machine: nothing of them is told to others.
_PLACES = ("cache_dir", "run_dir", "ckpt_path")


def check_new(folder: Path) -> None:
    """Raise a CheckpointError if the folder, or a file of that name, exists and is not empty."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CheckpointError(
            f"export_dir is {folder}, which exists already, and nothing is overwritten. Choose another, or remove it."
        )


def write_folder(cfg: DictConfig, saved: SavedRun, folder: Path, repo_id: str | None = None) -> None:
    """Write an exported model.

    Args:
        cfg: the run's configuration; ``format`` says which files.
        saved: its parts.
        folder: is made; nothing may stand there.
        repo_id: where it will be on the hub, for the card.

    Raises:
        ConfigError: no such format, or a model that has no such form.
        CheckpointError: the folder exists, or cannot be written.
    """
    form = cfg.format
    check_choice("format", form, FORMATS)
    check_new(folder)
    folder = folder.absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            content = Path(temporary) / "folder"
            content.mkdir()
            _write(cfg, saved, content, form == "transformers", repo_id)
            if folder.exists():
                folder.rmdir()
            os.replace(content, folder)
    except OSError as error:
        raise CheckpointError(
            f"Cannot write {folder}: {error.strerror or error}. Set export_dir to a place where you may create files."
        ) from error


def _write(cfg: DictConfig, saved: SavedRun, folder: Path, as_transformers: bool, repo_id: str | None) -> None:
    harness, tokenizer = saved.parts.harness, saved.parts.tokenizer
    class_name, command = None, command_of(saved.path)
    if as_transformers:
        model = _transformers_model(cfg, harness.model, tokenizer)
        class_name = type(model).__name__
        with without_bars():
            model.save_pretrained(folder)
    else:
        exported.write_weights(harness, folder / exported.WEIGHTS, saved.step, as_metadata(command))
        write_text(folder / exported.CONFIG, OmegaConf.to_yaml(_portable(saved.parts.cfg)))
    tokenizer.save_pretrained(folder)
    card = model_card(
        _plain(saved.parts.cfg),
        name=(repo_id or str(cfg.job_name)).rpartition("/")[2],
        step=saved.step,
        parameters=sum(weight.numel() for weight in harness.model.parameters()),
        measured=_measured(Path(cfg.run_dir), weights_fingerprint(harness)),
        trained_by=_told(command),
        version=__version__,
        transformers_class=class_name,
        answers=inherits(saved.parts.datamodule.collators.get(LoaderKind.PREDICTION), Seq2SeqCollatorPrediction),
        repo_id=repo_id,
    )
    write_text(folder / "README.md", card)


def _portable(cfg: DictConfig) -> DictConfig:
    """The configuration without what belongs to this job and this machine."""
    made = OmegaConf.create(OmegaConf.to_yaml(cfg))
    assert isinstance(made, DictConfig)
    with open_dict(made):
        made.update(dict.fromkeys(_OF_THE_JOB))
        made.update({"job_type": "generate", "run_dir": "runs/${job_name}", "unconditional": False})
        made.cache_dir = "${oc.env:XLM_CACHE_DIR,'~/.cache/xlm'}"
        made.tokenizer = {"_target_": exported.TOKENIZER, "path": "."}
        for group in ("callbacks", "logger"):  # of training; others need not have what they need
            made[group] = {}
        made.evaluators = []
    return made


def _plain(cfg: DictConfig) -> dict[str, Any]:
    """Resolved, node by node: one that cannot be resolved here stays as it is written."""
    plain: dict[str, Any] = {}
    for key in ("model", "dataset", "optimizer", "seed", "batch_size", "license"):
        node = OmegaConf.select(cfg, key)
        try:
            plain[key] = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        except OmegaConfBaseException:
            plain[key] = OmegaConf.to_container(node, resolve=False)
    return plain


def _measured(run_dir: Path, weights: str) -> list[Measured]:
    """What eval found of these very weights: of others, even of the same step, the card would say what is not so."""
    measured = []
    for found in read_run(run_dir).metrics:
        if found.file == f"metrics-{found.split}.json" and found.facts.get("weights") == weights:
            known, rows = intervals(found, ()), found.facts.get("rows")
            numbers = []
            for name, value in found.values.items():
                interval = f"{known[name].low:.4g} – {known[name].high:.4g}" if name in known else ""
                numbers.append([name, f"{value:.6g}", interval, found.means.get(name, "")])
            measured.append(Measured(found.split, rows, _told(found.facts.get("overrides") or []), numbers))
    return measured


def _told(words: Sequence[Any]) -> list[str]:
    """The words of a command line that others can use."""
    return [str(word) for word in words if str(word).partition("=")[0] not in _PLACES]


def _transformers_model(cfg: DictConfig, model: nn.Module, tokenizer: Any) -> Any:
    if not isinstance(model, ToTransformers):
        raise ConfigError(
            f"format is transformers, but {type(model).__name__} has no method to_transformers: no class of "
            "transformers computes it. Export it with format=xlm, which load(folder) and job_type=generate read."
        )
    lengths = [OmegaConf.select(cfg, f"dataset.{key}") or 0 for key in ("block_size", "prompt_length", "answer_length")]
    special = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    return model.to_transformers(special, max(lengths[0], lengths[1] + lengths[2], 1))
