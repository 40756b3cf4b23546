"""Writes a complete, tiny model repository: 200-odd weights, so that a training run is over in a moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

PARTS = '''\
"""Predicts each answer token from the token at its place: enough to train on, and nothing else."""

import torch
import torch.nn.functional as F
from torch import nn


class Model(nn.Module):
    def __init__(self, vocab_size, width=4):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.head = nn.Linear(width, vocab_size)

    def forward(self, input_ids, attention_mask=None):
        return self.head(self.embedding(input_ids))  # (B, L, V)


class Loss:
    def __init__(self, model, tokenizer, noise_schedule=None, scale=1.0):
        self.model, self.scale = model, scale

    def configure(self, pl_module):
        pass

    def loss_fn(self, batch):
        loss = F.cross_entropy(self.model(batch["ids"]).flatten(0, 1), batch["ids"].flatten())
        return {"loss": loss * self.scale}


class Predictor:
    def __init__(self, model, tokenizer, noise_schedule=None):
        self.model, self.tokenizer = model, tokenizer

    def predict(self, batch):
        return {"ids": self.model(batch["ids"]).argmax(-1)}

    def to_dict(self, batch, preds):
        pairs = zip(preds["ids"].tolist(), batch["ids"].tolist(), strict=True)
        return [{"text": self.tokenizer.decode(p), "truth": self.tokenizer.decode(t)} for p, t in pairs]


class Collator:
    def __init__(self, tokenizer, length):
        self.pad, self.length = tokenizer.pad_token_id, length

    def __call__(self, examples):
        rows = [example["token_ids"][: self.length] for example in examples]
        return {"ids": torch.tensor([row + [self.pad] * (self.length - len(row)) for row in rows])}


def nll(batch, output):
    return {"value": output["loss"]}


def exact_match(batch, preds):
    return {"value": (preds["ids"] == batch["ids"]).all(-1).float()}
'''

CONFIGS = {
    "model/NAME": "_target_: NAME.parts.Model\nvocab_size: ${vocab.size}\nwidth: 4\n",
    "model_type/NAME": """\
# @package _global_
loss:
  _target_: NAME.parts.Loss
  scale: 1.0
predictor:
  _target_: NAME.parts.Predictor
metrics:
  lm:
    loss:
      metric: {_target_: torchmetrics.MeanMetric}
      update: NAME.parts.nll
  prediction:
    exact_match:
      metric: {_target_: torchmetrics.MeanMetric}
      update: NAME.parts.exact_match
""",
    "collator/NAME": "_target_: NAME.parts.Collator\nlength: 8\n",
    "datamodule/star_easy_NAME": """\
defaults:
  - /dataset@_global_.dataset: star_easy
  - /collator@collators.lm: NAME
  - /collator@collators.prediction: NAME
""",
    "experiment/star_easy_NAME": """\
# @package _global_
defaults:
  - override /model: NAME
  - override /model_type: NAME
  - override /datamodule: star_easy_NAME

dataset: {sizes: {train: 8, val: 4, test: 4}}
batch_size: 4
trainer: {max_steps: 2, val_check_interval: 2, log_every_n_steps: 1, accelerator: cpu}
""",
}


def make_model(
    root: Path, name: str = "my_model", *, flat: bool = False, changes: Mapping[str, str | None] | None = None
) -> Path:
    """A working repository at ``root``: package ``root/<name>/`` (flat: ``root`` itself) and ``root/configs/``.

    Args:
        changes: files, by path from ``root``, to write instead of the usual text, or besides; None leaves one out.
            NAME in them stands for ``name``.
    """
    package = "" if flat else f"{name}/"
    files: dict[str, str | None] = {f"{package}__init__.py": "", f"{package}parts.py": PARTS}
    files |= {f"configs/{path}.yaml": text for path, text in CONFIGS.items()}
    files |= changes or {}
    for path, text in files.items():
        if text is not None:
            write(root / path.replace("NAME", name), text.replace("NAME", name))
    return root


def write(file: Path, text: str) -> Path:
    """Write a file and make its directory."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def register(directory: Path, entries: Mapping[str, str]) -> Path:
    """``directory/xlm_models.json`` with these entries."""
    return write(directory / "xlm_models.json", json.dumps(entries, indent=2))


def change_parts(project: Path, old: str, new: str) -> Path:
    """Replace a piece of the code of ``project/my_model``."""
    assert old in PARTS
    return write(project / "my_model/my_model/parts.py", PARTS.replace(old, new))
