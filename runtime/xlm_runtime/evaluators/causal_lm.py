"""Generative perplexity: how likely another language model finds the texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xlm_runtime.errors import DataError
from xlm_runtime.evaluators.pretrained import Pretrained
from xlm_runtime.predictions import Row
from xlm_runtime.report.intervals import Estimate, bootstrap


class GenerativePerplexity:
    """exp(sum of nats over all texts / sum of scored tokens), under any causal model of ``transformers``.

    The ``text`` of each row is made into tokens by that model's own tokenizer, and cut after ``max_length`` of them.
    Where the tokenizer has a BOS, it stands before the text and every token is scored; where it has none, the first
    token is only what the others follow, and is not scored. A text without a scored token counts for nothing.

    A low value is not quality: a text that repeats itself is likely. Read it beside ``diversity``'s entropy.

    Args:
        model: a directory, or ``user/name`` of a model of the hub.
        batch_size: texts that are read at once.
        max_length: tokens of a text, BOS included; None: as many as the model has positions.
        device: torch's name of one; None: the first accelerator there is, else the processor.
        revision: of a model of the hub.

    Raises:
        ConfigError: no such model, no network, an option out of its range.
    """

    def __init__(
        self,
        model: str,
        batch_size: int = 8,
        max_length: int | None = None,
        device: str | None = None,
        revision: str | None = None,
    ) -> None:
        self._pretrained = Pretrained(model, batch_size, max_length, device, revision, "GenerativePerplexity.model")

    def __call__(self, rows: Sequence[Row]) -> dict[str, float | Estimate]:
        """``perplexity``, with an interval over texts; ``tokens`` scored; texts ``cut``, and ``unscored``.

        Raises:
            DataError: no row has a ``text`` of which a token is scored.
        """
        texts = [row["text"] for row in rows if isinstance(row.get("text"), str)]
        limit, bos = self._pretrained.max_length, self._pretrained.tokenizer.bos_token_id
        start = [] if bos is None else [bos]
        whole = [[*start, *self._pretrained.encode(text)] for text in texts]
        scored = [ids[:limit] for ids in whole if len(ids) > 1]
        if not scored:
            raise DataError(
                f"{len(rows)} rows, and none has a text of which GenerativePerplexity could score a token. Expected "
                "rows with a key 'text', as job_type=eval and job_type=generate write them."
            )
        sums, counts = self._nats(scored), [len(ids) - 1 for ids in scored]
        means = [nats / count for nats, count in zip(sums, counts, strict=True)]
        return {
            "perplexity": bootstrap(means, counts, math.exp),
            "tokens": sum(counts),
            "cut": sum(len(ids) > limit for ids in whole),
            "unscored": len(texts) - len(scored),
        }

    def _nats(self, rows: Sequence[Sequence[int]]) -> list[float]:
        import torch
        import torch.nn.functional as F
        from transformers import AutoModelForCausalLM

        network = self._pretrained.weights(AutoModelForCausalLM)
        found = [0.0] * len(rows)
        with torch.inference_mode():
            for places, ids, mask in self._pretrained.batches(rows, network.device):
                logits = network(input_ids=ids, attention_mask=mask).logits[:, :-1].float()  # (B, L - 1, V)
                nats = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)
                for place, value in zip(places, (nats.double() * mask[:, 1:]).sum(-1).tolist(), strict=True):
                    found[place] = value
        return found
