"""Batch and output to the arguments of a metric; ``configs/model_type/skeleton.yaml`` names these functions."""

from typing import Any

import torch.nn.functional as F

from .types_skeleton import Batch, LossOutput, Prediction, PredictionBatch


def nll(batch: Batch, output: LossOutput) -> dict[str, Any]:
    """Nats per token, weighted by tokens: the mean over a split does not depend on how it is cut into batches."""
    return {"value": output["loss"], "weight": output["num_tokens"]}


def exact_match(batch: PredictionBatch, preds: Prediction) -> dict[str, Any]:
    """1 for each row whose answer is right to its EOS, with nothing after it, else 0: (B,)."""
    ids, target_ids = preds["ids"], batch["target_ids"]
    length = max(ids.shape[1], target_ids.shape[1])
    ids = F.pad(ids, (0, length - ids.shape[1]))  # PAD is 0
    target_ids = F.pad(target_ids, (0, length - target_ids.shape[1]))
    return {"value": (ids == target_ids).all(-1).float()}


# TODO: a function for each metric of your own.
