"""Batch and output to the arguments of a metric; ``configs/model_type/mdlm.yaml`` names these functions."""

from typing import Any

from .types_mdlm import Batch, LossOutput, Prediction, PredictionBatch


def nelbo(batch: Batch, output: LossOutput) -> dict[str, Any]:
    """Nats per token, weighted by tokens: the mean over a split does not depend on how it is cut into batches."""
    return {"value": output["loss"], "weight": output["num_tokens"]}


def exact_match(batch: PredictionBatch, preds: Prediction) -> dict[str, Any]:
    """1 for each row whose text is right to its EOS, and nothing after it, else 0: (B,). A row without truth is out."""
    known = batch["target_mask"].any(-1)
    return {"value": (preds["ids"] == batch["target_ids"]).all(-1).float(), "weight": known.float()}


def token_accuracy(batch: PredictionBatch, preds: Prediction) -> dict[str, Any]:
    """The share of tokens to be written, EOS included, that stand at their place: (B,), weighted by their number."""
    mask = batch["target_mask"]
    length = mask.sum(-1)
    right = (preds["ids"] == batch["target_ids"]) & mask
    return {"value": right.sum(-1) / length.clamp(min=1), "weight": length}


def network_calls(batch: PredictionBatch, preds: Prediction) -> dict[str, Any]:
    """How often the network ran on each row: (B,)."""
    return {"value": preds["network_calls"].float()}
