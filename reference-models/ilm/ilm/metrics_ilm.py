"""Batch and output to the arguments of a metric; ``configs/model_type/ilm.yaml`` names these functions.

No metric here is a likelihood or a bound of one: the loss sums over many orders of insertion at once.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .types_ilm import Batch, LossOutput, Prediction, PredictionBatch


def loss(batch: Batch, output: LossOutput) -> dict[str, Any]:
    """Nats an example, weighted by examples: the mean over a split does not depend on how it is cut into batches."""
    return {"value": output["loss"], "weight": len(batch["index"])}


def token_loss(batch: Batch, output: LossOutput) -> dict[str, Any]:
    """The part of the loss that is about which tokens are missing, and where."""
    return {"value": output["token_loss"], "weight": len(batch["index"])}


def stop_loss(batch: Batch, output: LossOutput) -> dict[str, Any]:
    """The part of the loss that is about whether anything is missing, before its weight."""
    return {"value": output["stop_loss"], "weight": len(batch["index"])}


def exact_match(batch: PredictionBatch, preds: Prediction) -> dict[str, Any]:
    """1 for each row whose text is right, with nothing after it, else 0: (B,), of those whose text is known."""
    ids, target_ids = _same_length(preds["ids"], batch["target_ids"])
    return {"value": (ids == target_ids).all(-1).float(), "weight": batch["known"].float()}


def token_accuracy(batch: PredictionBatch, preds: Prediction) -> dict[str, Any]:
    """The share of the missing tokens that stand at their place now: (B,), weighted by their number."""
    ids, target_ids = _same_length(preds["ids"], batch["target_ids"])
    _, mask = _same_length(preds["ids"], batch["target_mask"])
    length = mask.sum(-1)
    return {"value": ((ids == target_ids) & mask).sum(-1) / length.clamp(min=1), "weight": length}


def network_calls(batch: PredictionBatch, preds: Prediction) -> dict[str, Any]:
    """How often the network ran on each row: (B,)."""
    return {"value": preds["network_calls"].float()}


def _same_length(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    # Zero is PAD for ids, and False for a mask.
    length = max(first.shape[1], second.shape[1])
    return F.pad(first, (0, length - first.shape[1])), F.pad(second, (0, length - second.shape[1]))
