"""Batch and output to the arguments of a metric; ``configs/model_type/arlm.yaml`` names these functions."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .types_arlm import Batch, LossOutput, Prediction, PredictionBatch


def nll(batch: Batch, output: LossOutput) -> dict[str, Any]:
    """Nats per token, weighted by tokens: the mean over a split does not depend on how it is cut into batches."""
    return {"value": output["loss"], "weight": output["num_tokens"]}


def exact_match(batch: PredictionBatch, preds: Prediction) -> dict[str, Any]:
    """1 for each row that is right to its EOS, with nothing after it, else 0: (B,). A row without truth is out."""
    ids, target_ids = _same_length(preds["ids"], batch["target_ids"])
    known = batch["target_mask"].any(-1)
    return {"value": (ids == target_ids).all(-1).float(), "weight": known.float()}


def token_accuracy(batch: PredictionBatch, preds: Prediction) -> dict[str, Any]:
    """The share of the true answer's tokens, EOS included, that stand at their place: (B,), weighted by length."""
    ids, target_ids = _same_length(preds["ids"], batch["target_ids"])
    _, mask = _same_length(preds["ids"], batch["target_mask"])
    length = mask.sum(-1)
    return {"value": ((ids == target_ids) & mask).sum(-1) / length.clamp(min=1), "weight": length}


def _same_length(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    # Zero is PAD for ids, and False for a mask.
    length = max(first.shape[1], second.shape[1])
    return F.pad(first, (0, length - first.shape[1])), F.pad(second, (0, length - second.shape[1]))
