"""The objective of SKELETON.

Write its equation here, with its source and its unit:

    loss = sum_j -log p(x_{j+1} | x_{<=j}) / number of scored tokens in the batch      (nats per token)
"""

from typing import Any

import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedTokenizerBase
from xlm_runtime import LossFunction

from .types_skeleton import IGNORED, Batch, LossOutput


class SkeletonLoss(LossFunction[Batch, LossOutput]):
    """Cross-entropy over the scored positions.

    Args:
        model: ids -> logits (B, L, V).
        tokenizer: its vocabulary.
        noise_schedule: for models that have one (group ``noise_schedule``), else None.
    """

    # TODO: further arguments become keys of `loss` in configs/model_type/skeleton.yaml.
    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, noise_schedule: Any = None) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def loss_fn(self, batch: Batch) -> LossOutput:
        """The mean over all scored tokens of the batch; 0 where there is none. Must not write into the batch."""
        # TODO: your objective.
        target_ids = batch["target_ids"]  # (B, T)
        logits = self.model(batch["input_ids"], batch["attention_mask"])[:, -target_ids.shape[1] :]
        nll = F.cross_entropy(logits.flatten(0, 1).float(), target_ids.flatten(), ignore_index=IGNORED, reduction="sum")
        num_tokens = (target_ids != IGNORED).sum()
        return {"loss": nll / num_tokens.clamp(min=1), "num_tokens": num_tokens}
