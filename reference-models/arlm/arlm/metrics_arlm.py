"""Batch and output to the arguments of a metric; ``configs/model_type/arlm.yaml`` names these functions."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .types_arlm import Batch, LossOutput, Prediction, PredictionBatch

NOTHING = -1  # nobody's id: where a shorter prediction has no column


def nll(batch: Batch, output: LossOutput) -> dict[str, Any]:
    """Nats per token, weighted by tokens: the mean over a split does not depend on how it is cut into batches."""
    return {"value": output["loss"], "weight": output["num_tokens"]}


def exact_match(batch: PredictionBatch, preds: Prediction) -> dict[str, Any]:
    """1 for each row that is right to its EOS, after which nothing is written: (B,). A row without truth is out."""
    mask = batch["target_mask"]
    ids = _as_wide(preds["ids"], mask)
    nothing = (ids == NOTHING) & ~mask
    right = (ids == batch["target_ids"]) | nothing
    return {"value": right.all(-1).float(), "weight": mask.any(-1).float()}


def token_accuracy(batch: PredictionBatch, preds: Prediction) -> dict[str, Any]:
    """The share of the true answer's tokens, EOS included, that stand at their place: (B,), weighted by length."""
    mask = batch["target_mask"]
    right = (_as_wide(preds["ids"], mask) == batch["target_ids"]) & mask
    length = mask.sum(-1)
    return {"value": right.sum(-1) / length.clamp(min=1), "weight": length}


def _as_wide(ids: Tensor, mask: Tensor) -> Tensor:
    return F.pad(ids, (0, max(0, mask.shape[1] - ids.shape[1])), value=NOTHING)[:, : mask.shape[1]]
