"""Parts of a few dozen weights, whose losses and predictions can be foretold, and a Harness over them."""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers.logger import Logger
from omegaconf import DictConfig
from torch import Tensor, nn
from torchmetrics import MeanMetric

from xlm_runtime.config import compose
from xlm_runtime.datamodule import DataModule
from xlm_runtime.discovery import activate, discover
from xlm_runtime.harness import Harness
from xlm_runtime.metrics import LoaderKind, MetricSet

REPOSITORY = Path(__file__).resolve().parents[2]
VOCAB = 8


def examples(count: int) -> list[dict[str, Any]]:
    """Example i has i % 4 + 1 tokens, none of them 0."""
    return [{"index": i, "token_ids": [(i + j) % (VOCAB - 1) + 1 for j in range(i % 4 + 1)]} for i in range(count)]


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """``ids`` (B, 4), padded with 0, and ``index`` (B,)."""
    ids = torch.tensor([[*row["token_ids"], *[0] * (4 - len(row["token_ids"]))] for row in rows])
    return {"ids": ids, "index": torch.tensor([row["index"] for row in rows])}


class Model(nn.Module):
    """Logits of a token from the token itself."""

    def __init__(self, vocab_size: int = VOCAB, width: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.head = nn.Linear(width, vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embedding(ids))


def cross_entropy(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Nats per token that is not 0, and what a test may track."""
    ids = batch["ids"]
    nll = F.cross_entropy(model(ids).flatten(0, 1), ids.flatten(), ignore_index=0, reduction="sum")
    num_tokens = (ids != 0).sum()
    return {"loss": nll / num_tokens, "num_tokens": num_tokens, "mean_index": batch["index"].float().mean()}


class Loss:
    """Plain Python, with a model."""

    def __init__(self, model: nn.Module, tokenizer: Any = None, noise_schedule: Any = None) -> None:
        self.model = model
        self.calls: list[str] = []

    def configure(self, pl_module: Any) -> None:
        self.calls.append(f"configure on {pl_module.device}")

    def loss_fn(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.calls.append("loss_fn")
        return cross_entropy(self.model, batch)


class TrainableLoss(nn.Module):
    """An ``nn.Module`` that holds the model, and brings a network of its own, which weighs the loss."""

    def __init__(self, model: nn.Module, tokenizer: Any = None, noise_schedule: Any = None) -> None:
        super().__init__()
        self.model = model
        self.critic = nn.Linear(1, 1)

    def configure(self, pl_module: Any) -> None:
        pass

    def loss_fn(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        output = cross_entropy(self.model, batch)
        weight = self.critic(torch.ones(1)).square().sum() + 1
        return {**output, "loss": output["loss"] * weight, "weight": weight}


class Predictor:
    """Right for every third example, by its index."""

    def __init__(self, model: nn.Module, tokenizer: Any = None, noise_schedule: Any = None) -> None:
        self.model = model

    def predict(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"right": batch["index"] % 3 == 0}

    def to_dict(self, batch: Mapping[str, Tensor], preds: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        return [
            {"index": index, "text": "yes" if right else "no", "truth": "yes"}
            for index, right in zip(batch["index"].tolist(), preds["right"].tolist(), strict=True)
        ]


class TrainablePredictor(nn.Module):
    """An ``nn.Module`` with a parameter that only it has."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.temperature = nn.Parameter(torch.ones(()))

    predict = Predictor.predict
    to_dict = Predictor.to_dict


class NoiseSchedule(nn.Module):
    """A learnable rate."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.ones(3))


def nll(batch: Any, output: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"value": output["loss"], "weight": output["num_tokens"]}


def right(batch: Any, output: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"value": output["right"].float()}


def metric_sets(*splits: str) -> dict[tuple[str, LoaderKind], MetricSet]:
    """``loss`` over lm loaders and ``right`` over prediction loaders, for each split."""
    return {
        (split, kind): MetricSet({name: MeanMetric()}, {name: update})
        for split in splits
        for kind, name, update in ((LoaderKind.LM, "loss", nll), (LoaderKind.PREDICTION, "right", right))
    }


def make_harness(**changes: Any) -> Harness:
    """A Harness over the parts above, at seed 0; SGD at rate 0.1."""
    torch.manual_seed(0)
    model = changes.pop("model", None) or Model()
    settings: dict[str, Any] = {
        "model": model,
        "loss": Loss(model),
        "predictor": Predictor(model),
        "noise_schedule": None,
        "metrics": metric_sets("val", "test"),
        "eval_kinds": list(LoaderKind),
        "eval_split": "test",
        "optimizer": functools.partial(torch.optim.SGD, lr=0.1),
        "weight_decay": 0.0,
        "optimizer_groups": {},
        "lr_scheduler": None,
        "track": ["loss"],
        "compile": False,
        "nonfinite": "stop",
        "run_dir": None,
        "config": "seed: 0\n",
    }
    return changes.pop("harness", Harness)(**(settings | changes))


def make_datamodule(**changes: Any) -> DataModule:
    """16 training, 10 validation and 7 test examples, in batches of 4, in their order."""
    settings: dict[str, Any] = {
        "dataset": {"train": examples(16), "val": examples(10), "test": examples(7)},
        "collators": {"lm": collate, "prediction": collate},
        "batch_size": 4,
        "eval_batch_size": 4,
        "num_workers": 0,
        "seed": 0,
        "eval_split": "test",
        "splits": {"train": "train", "val": "val", "test": "test"},
        "limit": None,
        "shuffle": False,
    }
    return DataModule(**(settings | changes))


def make_trainer(**changes: Any) -> pl.Trainer:
    """A quiet Trainer on the CPU: two steps, no validation, nothing written."""
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_steps": 2,
        "max_epochs": -1,
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
        "check_val_every_n_epoch": None,
        "log_every_n_steps": 1,
    }
    return pl.Trainer(**(settings | changes))


class Memory(Logger):
    """Remembers what is logged: ``rows`` of (step, metrics)."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    name = "memory"
    version = ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, {name: float(value) for name, value in metrics.items() if name != "epoch"}))

    def values(self, name: str) -> list[tuple[int | None, float]]:
        """(step, value) of each time that ``name`` was logged."""
        return [(step, metrics[name]) for step, metrics in self.rows if name in metrics]


def arlm_config(cache_dir: Path, *overrides: str) -> DictConfig:
    """The composed configuration of a small ARLM over 24 star graphs; its package is importable from here on."""
    words = [
        "experiment=star_easy_arlm",
        "model.d_model=32",
        "model.num_layers=1",
        "model.num_heads=1",
        "model.d_ff=64",
        "dataset.sizes={train: 24, val: 10, test: 7}",
        "batch_size=8",
        "trainer.accelerator=cpu",
        f"cache_dir={cache_dir}",
    ]
    with reference_models():
        return compose([*words, *overrides])


@contextmanager
def reference_models() -> Iterator[None]:
    """The repository's own models are found, whatever the current directory is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLM_MODELS_PATH", str(REPOSITORY / "reference-models"))
        activate(discover().models)
        yield


def fit(harness: Harness, datamodule: pl.LightningDataModule | None = None, **trainer: Any) -> Memory:
    """Train, and return what was logged."""
    memory = Memory()
    make_trainer(logger=memory, **trainer).fit(harness, datamodule=datamodule or make_datamodule())
    return memory


def snapshot(harness: Harness) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in harness.state_dict().items()}


def changed(harness: Harness, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in harness.state_dict().items() if not torch.equal(value, before[name])}


def trainable_parts(**changes: Any) -> Harness:
    torch.manual_seed(0)
    model = Model()
    schedule = NoiseSchedule()
    loss = TrainableLoss(model)
    loss.noise_schedule = schedule
    predictor = TrainablePredictor(model)
    return make_harness(model=model, loss=loss, predictor=predictor, noise_schedule=schedule, **changes)
