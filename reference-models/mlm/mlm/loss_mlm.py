"""The objective of MLM: the cross-entropy of masked tokens, with a mask rate drawn for each example.

    t_i ~ U(0, 1);  every eligible position of example i is masked with probability t_i, and one at least
    loss = sum_i w_i sum_{masked j} -log p(x_ij | the visible tokens) / sum_i w_i n_i         (nats per token)

n_i is the number of masked tokens of example i, and w_i = 1: the mean over the batch's masked tokens. With
``inverse_count`` it is w_i = 1 / (n_i + 1): each example then counts for about the same, whatever its rate. With
``loss_on_visible`` the visible eligible tokens are scored as well, and counted. In a packed row, an example is the row:
its texts share one rate.

After BERT (arXiv 1810.04805), departing from it: the rate is drawn, not fixed at 15 % (as Mask-Predict does, arXiv
1904.09324), and a masked token is always replaced by MASK. There is no weight 1/t, so the loss is no bound of the
likelihood.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from xlm_runtime import LossFunction
from xlm_runtime.canvas import blank_out
from xlm_runtime.collate import packed_keywords
from xlm_runtime.nn import counter_uniforms, stream_seed
from xlm_runtime.options import check_switch, check_whole_number

from .types_mlm import IGNORED, Batch, LossOutput


class MlmLoss(LossFunction[Batch, LossOutput]):
    """loss = sum_i w_i sum_{masked j} -log p(x_ij | visible) / sum_i w_i n_i, in nats per masked token.

    Logits (B, T, V) of the canvas against the text that stood there; see the top of this file.

    Args:
        model: ids -> logits.
        tokenizer: for the special ids.
        noise_schedule: not used; the runtime gives it to every loss.
        inverse_count: weigh each example by 1 / (its masked tokens + 1).
        loss_on_visible: score the visible eligible tokens too.
        seed: of the masks in evaluation. There a row's mask depends on the seed and its index, not on its batch.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        noise_schedule: Any = None,
        inverse_count: bool = False,
        loss_on_visible: bool = False,
        seed: int = 0,
    ) -> None:
        check_switch("loss.inverse_count", inverse_count)
        check_switch("loss.loss_on_visible", loss_on_visible)
        check_whole_number("loss.seed", seed, least=0)
        self.model = model
        self.tokenizer = tokenizer
        self.mask = tokenizer.mask_token_id
        self.inverse_count = inverse_count
        self.loss_on_visible = loss_on_visible
        self.rate_seed, self.mask_seed = stream_seed(seed, "rate"), stream_seed(seed, "mask")

    def loss_fn(self, batch: Batch) -> LossOutput:
        """The weighted mean over the scored tokens of the batch; 0 where there is none."""
        input_ids, eligible = batch["input_ids"], batch["eligible"]
        length = eligible.shape[1]
        masked = self.draw_mask(eligible, batch["index"])  # (B, T)
        logits = self.model(
            blank_out(input_ids, masked, self.mask),
            batch["attention_mask"],
            logits_to_keep=length,
            **packed_keywords(batch),
        )  # (B, T, V)
        scored = eligible if self.loss_on_visible else masked
        target_ids = input_ids[:, -length:].masked_fill(~scored, IGNORED)
        # In float32 whatever the precision of training: a sum of many small numbers.
        nll = F.cross_entropy(
            logits.flatten(0, 1).float(), target_ids.flatten(), ignore_index=IGNORED, reduction="none"
        ).view_as(target_ids)  # 0 where it is not scored
        weight = 1 / (masked.sum(-1) + 1) if self.inverse_count else torch.ones_like(nll[:, 0])  # (B,)
        total = (weight * scored.sum(-1)).sum()
        return {"loss": (weight * nll.sum(-1)).sum() / total.clamp(min=1e-9), "weight": total}

    def draw_mask(self, eligible: Tensor, index: Tensor) -> Tensor:
        """Which positions to mask: (B, T) bool, True at one eligible position at least of each row that has any."""
        if self.model.training:
            rate = torch.rand(len(eligible), device=eligible.device)  # (B,)
            uniforms = torch.rand(eligible.shape, device=eligible.device)  # (B, T)
        else:
            rate = counter_uniforms(self.rate_seed, index)
            position = torch.arange(eligible.shape[1], device=eligible.device)
            uniforms = counter_uniforms(self.mask_seed, index[:, None], position)
        uniforms = uniforms.masked_fill(~eligible, 2.0)
        # The smallest number of a row is always under the bar: which of them is smallest is uniform.
        bar = torch.maximum(rate[:, None], uniforms.amin(-1, keepdim=True))
        return eligible & (uniforms <= bar)
