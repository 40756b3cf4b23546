"""The objective of ILM: what was deleted, and whether anything was (Insertion Language Models, arXiv 2505.05755).

Of a text of L tokens, n ~ U{0..L} are deleted, a uniform n-subset. c[i, v] counts the deleted tokens of value v that
lie between kept token i and the next kept one; p is one softmax over all pairs of a slot and a token.

    token = -sum_{i,v} c[i, v] / n * log p(i, v)                                          0 where n = 0
          = logsumexp_{i,v} logit[i, v] - 1/n * sum_k logit[slot_k, token_k]              k over the deleted tokens
    stop  = -w_y log q(y)      y = min(n, N): "nothing is missing" iff n = 0; weights w of that, 1 - w of the others
    loss  = mean token + lambda * mean stop                                               (nats an example)

It is computed by the second line: no target over (slot, token) is ever made. Neither term bounds a likelihood.

Slots are BOS and the kept tokens of the text, and tokens are all but the special ones: the predictor draws from the
same support. Deleted tokens are taken out by the attention mask, and positions count what is left; with explicit
positions this is the same as to close the gaps, and shapes stay fixed.

Departures from the paper, whose N is 1: the stop head may count (the model's ``count_up_to``). A special token within a
text is never deleted; class weights multiply and are not divided by their sum, so that the loss does not depend on how
examples are batched.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from xlm_runtime import LossFunction
from xlm_runtime.nn import counter_uniforms, stream_seed
from xlm_runtime.options import check_number, check_whole_number

from .types_ilm import Batch, LossOutput

STOP = 0  # the class of the stop head that says: nothing is missing


class IlmLoss(LossFunction[Batch, LossOutput]):
    """loss = mean (-sum_{i,v} c[i, v] / n log p(i, v)) + lambda * mean (-w_y log q(y)), in nats an example.

    The cross-entropy of the deleted tokens at their slots, logits (B, S, V), plus that of how many are missing,
    (B, 1 + N); see the top of this file.

    Args:
        model: ids -> ``ModelOutput``.
        tokenizer: for the padding token, and the special ones, which are never inserted.
        noise_schedule: not used; the runtime gives it to every loss.
        stop_loss_weight: lambda; the paper has 1, for text .001.
        stop_class_weight: w, in (0, 1), for text .9; None weighs all classes with 1.
        seed: of the deletions in evaluation, which depend on the seed and a row's index, not on its batch.
            In training they come from torch's global generator.

    Raises:
        ConfigError: a weight out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        noise_schedule: Any = None,
        stop_loss_weight: float = 1.0,
        stop_class_weight: float | None = None,
        seed: int = 0,
    ) -> None:
        check_number("loss.stop_loss_weight", stop_loss_weight, "[0, inf)")
        check_number("loss.stop_class_weight", stop_class_weight, "(0, 1)", or_null=True)
        check_whole_number("loss.seed", seed, least=0)
        self.model = model
        self.tokenizer = tokenizer
        self.stop_loss_weight = stop_loss_weight
        w = stop_class_weight
        self.class_weights = torch.tensor([1.0, 1.0] if w is None else [w, 1.0 - w])
        self.count_seed, self.order_seed = stream_seed(seed, "count"), stream_seed(seed, "order")
        self.pad = tokenizer.pad_token_id
        self.never = torch.tensor(sorted(set(tokenizer.all_special_ids)))

    def configure(self, pl_module: Any) -> None:
        self.class_weights = self.class_weights.to(pl_module.device)
        self.never = self.never.to(pl_module.device)

    def loss_fn(self, batch: Batch) -> LossOutput:
        """The mean over the examples of the batch."""
        return self.score(batch, self.delete(batch["deletable"], batch["index"]))

    def delete(self, deletable: Tensor, index: Tensor) -> Tensor:
        """Which tokens to delete: n ~ U{0..L} of each row's L deletable ones, a uniform n-subset.

        Args:
            deletable: (B, S) bool.
            index: (B,) int64.

        Returns:
            (B, S) bool.
        """
        batch, size = deletable.shape
        if self.model.training:
            count, order = torch.rand(batch, 1 + size, device=deletable.device).split([1, size], dim=1)
        else:
            place = torch.arange(size, device=deletable.device)
            count = counter_uniforms(self.count_seed, index)[:, None]
            order = counter_uniforms(self.order_seed, index[:, None], place)
        length = deletable.sum(1, keepdim=True)
        n = (count * (length + 1)).long().minimum(length)  # rounding could reach L + 1
        # The n first of a random order of the deletable ones, which come before the others.
        rank = torch.where(deletable, order, 2.0).argsort(1).argsort(1)
        return rank < n

    def score(self, batch: Batch, deleted: Tensor) -> LossOutput:
        """The loss of given deletions (B, S) bool."""
        size = deleted.shape[1]
        answer_ids = batch["input_ids"][:, -size:]
        kept = batch["attention_mask"].clone()  # (B, L)
        kept[:, -size:] &= ~deleted
        slots = kept[:, -size:]  # (B, S); BOS is one, so that each row has a slot
        # The ids of deleted tokens leave too: nothing can be learnt from what is not there.
        input_ids = batch["input_ids"].where(kept, self.pad)
        logits, stop_logits = self.model(input_ids, kept, type_ids=batch["type_ids"], logits_to_keep=size)

        logits = insertion_logits(logits, self.never)  # (B, S, V)
        total = logits.logsumexp(-1).masked_fill(~slots, -torch.inf).logsumexp(-1)  # (B,)
        place = torch.arange(size, device=deleted.device)
        slot_of = torch.where(slots, place, 0).cummax(1).values  # (B, S): the last kept column up to here
        pairs = logits.flatten(1).gather(1, slot_of * logits.shape[-1] + answer_ids)  # (B, S)
        n = deleted.sum(1)
        found = torch.where(deleted, pairs, 0.0).sum(1) / n.clamp(min=1)
        token_loss = torch.where(n > 0, total - found, 0.0).mean()

        label = n.clamp(max=stop_logits.shape[-1] - 1)
        surprise = F.cross_entropy(stop_logits.float(), label, reduction="none")  # (B,)
        stop_loss = (self.class_weights.to(surprise.device)[label.ne(STOP).long()] * surprise).mean()
        loss = token_loss + self.stop_loss_weight * stop_loss
        return {"loss": loss, "token_loss": token_loss, "stop_loss": stop_loss}


def insertion_logits(logits: Tensor, never: Tensor) -> Tensor:
    """Logits (..., V), minus infinity at the token ids ``never``, which are not inserted.

    In float32 at least, whatever the precision of training: sums over slots and tokens of many small numbers follow.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    support = torch.zeros(logits.shape[-1], dtype=wide, device=logits.device)
    return logits + support.index_fill(0, never.to(logits.device), -torch.inf)  # the sum is wide
