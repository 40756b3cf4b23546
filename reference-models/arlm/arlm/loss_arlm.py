"""The objective of ARLM: next-token cross-entropy, the chain rule of probability.

    log p(x) = sum_j log p(x_{j+1} | x_{<=j}),    x = BOS text EOS
    loss     = sum_j -log p(x_{j+1} | x_{<=j}) / number of scored tokens in the batch            (nats per token)

It is the exact negative log-likelihood, so exp(loss) is the perplexity (Bengio et al., A Neural Probabilistic Language
Model, JMLR 2003; with a transformer, GPT-2, Radford et al. 2019).

Which tokens are scored is the collator's decision: all of a text and its EOS; of a prompt and its answer, the answer
and EOS, which makes it -log p(answer | prompt). With the collator's ``score_prompt`` the prompt is scored as well, from
its second token on.

Departures from GPT-2: a row is one text, or several that are packed, and no token sees another text; and the mean is
over the batch's tokens, not over rows.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from xlm_runtime import Likelihood, LossFunction
from xlm_runtime.collate import attended, packed_keywords, pad

from .types_arlm import IGNORED, Batch, LossOutput


class ArlmLoss(LossFunction[Batch, LossOutput], Likelihood):
    """loss = sum_j -log p(x_{j+1} | x_{<=j}) / scored tokens: cross-entropy over the scored positions, nats per token.

    Logits (B, T, V) against ``target_ids`` (B, T); see the top of this file.

    Args:
        model: ids (B, L) -> logits (B, T, V) of the last T positions.
        tokenizer: its vocabulary.
        noise_schedule: not used; the runtime gives it to every loss.
    """

    exact = True

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, noise_schedule: Any = None) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def loss_fn(self, batch: Batch) -> LossOutput:
        """The mean over all scored tokens of the batch; 0 where there is none."""
        target_ids = batch["target_ids"]  # (B, T)
        packed = packed_keywords(batch)
        logits = self.model(batch["input_ids"], batch["attention_mask"], logits_to_keep=target_ids.shape[1], **packed)
        # In float32 whatever the precision of training: a sum of many small numbers.
        nll = F.cross_entropy(logits.flatten(0, 1).float(), target_ids.flatten(), ignore_index=IGNORED, reduction="sum")
        num_tokens = (target_ids != IGNORED).sum()
        return {"loss": nll / num_tokens.clamp(min=1), "num_tokens": num_tokens}

    @torch.no_grad()
    def log_likelihood(self, context_ids: list[list[int]], token_ids: list[list[int]]) -> tuple[Tensor, Tensor]:
        """log p(tokens | context) = sum_j log p(x_j | x_{<j}) in nats, (B,); whether greedy decoding writes them, (B,)."""
        rows = [[*context, *tokens] for context, tokens in zip(context_ids, token_ids, strict=True)]
        length = max(map(len, rows))
        device = next(self.model.parameters()).device
        input_ids = pad(rows, length, self.tokenizer.pad_token_id, "right").to(device)
        mask = attended(rows, length, "right").to(device)
        first = torch.tensor([len(context) for context in context_ids], device=device)[:, None]
        scored = mask[:, 1:] & (torch.arange(1, length, device=device) >= first)  # (B, L - 1)
        logits, target_ids = self.model(input_ids, mask)[:, :-1].float(), input_ids[:, 1:]
        nll = F.cross_entropy(logits.transpose(1, 2), target_ids, reduction="none")
        likeliest = (logits.argmax(-1) == target_ids) | ~scored
        return -(nll.double() * scored).sum(-1), likeliest.all(-1)
