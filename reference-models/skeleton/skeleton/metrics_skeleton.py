"""Batch and output to the arguments of a metric; ``configs/model_type/skeleton.yaml`` names these functions."""

from typing import Any

import torch.nn.functional as F

from .types_skeleton import Batch, LossOutput, Prediction, PredictionBatch


def nll(batch: Batch, output: LossOutput) -> dict[str, Any]:
    """Nats per token, weighted by tokens: the mean over a split does not depend on how it is cut into batches."""
    return {"value": output["loss"], "weight": output["num_tokens"]}


def exact_match(batch: PredictionBatch, preds: Prediction) -> dict[str, Any]:
    """1 for each row whose answer is right to its EOS, after which nothing is written, else 0: (B,)."""
    ids, target_ids, mask = preds["ids"], batch["target_ids"], batch["target_mask"]
    width = target_ids.shape[1]
    ids = F.pad(ids, (0, max(0, width - ids.shape[1])), value=-1)[:, :width]  # -1 is nobody's id: nothing stands there
    return {"value": ((ids == target_ids) | ((ids == -1) & ~mask)).all(-1).float()}


# TODO: a function for each metric of your own.
