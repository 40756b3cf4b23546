"""The sampling loop of SKELETON: from a prompt to an answer.

Here: the likeliest next token, until EOS, the whole sequence through the model at each step. (ARLM, another starting
point, has a KV cache and sampling options.)
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase
from xlm_runtime import Predictor
from xlm_runtime.options import check_whole_number

from .types_skeleton import Prediction, PredictionBatch


class SkeletonPredictor(Predictor[PredictionBatch, Prediction]):
    """Greedy decoding.

    Args:
        model: ids -> logits (B, L, V).
        tokenizer: for the special ids, and to make text.
        noise_schedule: for models that have one, else None.
        max_new_tokens: T, at most so many tokens a row, EOS included.

    Raises:
        ConfigError: an option out of its range.
    """

    # TODO: further arguments become keys of `predictor` in configs/model_type/skeleton.yaml, and of the command line.
    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        noise_schedule: Any = None,
        max_new_tokens: int = 32,
    ) -> None:
        check_whole_number("predictor.max_new_tokens", max_new_tokens, least=1)
        self.model = model
        self.tokenizer = tokenizer
        self.noise_schedule = noise_schedule
        self.max_new_tokens = max_new_tokens
        self.eos, self.pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        self.never = sorted(set(tokenizer.all_special_ids) - {self.eos})  # no answer holds these

    @torch.no_grad()
    def predict(self, batch: PredictionBatch) -> Prediction:
        """Continue every row of ``input_ids`` (B, P)."""
        # TODO: your sampling loop.
        input_ids, mask = batch["input_ids"], batch["attention_mask"]
        ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        tokens = []
        for _ in range(self.max_new_tokens):
            logits = self.model(input_ids, mask)[:, -1]  # (B, V)
            logits[:, self.never] = -torch.inf
            token = logits.argmax(-1).masked_fill(ended, self.pad)  # (B,)
            tokens.append(token)
            input_ids = torch.cat([input_ids, token[:, None]], dim=1)
            mask = torch.cat([mask, ~ended[:, None]], dim=1)
            ended = ended | (token == self.eos)
            if ended.all():
                break
        return {"ids": torch.stack(tokens, dim=1)}

    def to_dict(self, batch: PredictionBatch, preds: Prediction) -> list[dict[str, Any]]:
        """Rows of text and ids. ``truth`` is None where no answer is known."""

        def text(ids: list[int]) -> str:
            return str(self.tokenizer.decode(ids, skip_special_tokens=True))

        columns = (batch["input_ids"].tolist(), preds["ids"].tolist(), batch["target_ids"].tolist())
        return [
            {
                "prompt": text(prompt),
                "text": text(ids),
                "truth": text(truth) if truth[0] != self.pad else None,
                "ids": [i for i in ids if i != self.pad],
            }
            for prompt, ids, truth in zip(*columns, strict=True)
        ]
