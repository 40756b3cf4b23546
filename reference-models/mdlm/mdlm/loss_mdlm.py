"""The objective of MDLM: the negative evidence lower bound (NELBO) of masked diffusion (arXiv 2406.07524).

    NELBO(x) = E_t E_{z_t}  w(t) sum_{masked j} -log p(x_j | z_t),      w = σ′ / (exp σ − 1) = 1/t (log-linear)
    loss     = sum_i NELBO(x_i) / number of eligible tokens of the batch                           (nats per token)

z_t is x with each eligible token masked with probability 1 − exp(−σ(t)), independently. p is the network under the
SUBS parameterisation: the logit of MASK is minus infinity before the softmax, and a visible token is copied through,
so that it costs nothing.

The division is by **all** tokens that the model has to write, masked or not; by the masked ones it would be no bound.
In plain text these are the text and EOS, as in the paper; with a prompt, the answer, EOS and the padding of the
answer's block: the conditional NELBO per answer token. exp(loss) bounds the perplexity from above.

t is in [0.001, 1), as in the paper. In training one t a row, t_i = ((u + i/B) mod 1) (1 − 0.001) + 0.001 with one u
a batch: the times of a batch are spread evenly, and yet each row's own is uniform (arXiv 2107.00630; with u/B in the
place of u, as in the paper's code, row i would always be in the same B-th of the time if batches were not shuffled).
In evaluation an even grid of ``eval_times`` times for each row, shifted by a u of its own: nearly all of the variance
in t is gone, and the estimate has no bias. The texts of a packed row share its time, which has no bias either.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from xlm_runtime import Likelihood, LossFunction
from xlm_runtime.canvas import blank_out
from xlm_runtime.collate import attended, packed_keywords, pad
from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import counter_uniforms, stream_seed
from xlm_runtime.options import check_whole_number

from .types_mdlm import IGNORED, Batch, LossOutput

#: The smallest t: below it the weight explodes, and hardly anything is masked.
FIRST_TIME = 1e-3


class MdlmLoss(LossFunction[Batch, LossOutput], Likelihood):
    """loss = sum_i E_t w(t) sum_{masked j} -log p(x_ij | z_t) / eligible tokens: the NELBO, in nats per token.

    Logits (B, T, V) of the canvas against the text that stood there; see the top of this file.

    Args:
        model: ids and noise level -> logits.
        tokenizer: for the special ids.
        noise_schedule: with ``sigma``, ``mask_probability`` and ``weight``.
        eval_times: in evaluation, the network runs at so many times for each row.
        seed: of the draws in evaluation. There a row's draws depend on the seed and its index, not on its batch.

    Raises:
        ConfigError: ``eval_times`` below 1, no noise schedule.
    """

    exact = False

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        noise_schedule: Any = None,
        eval_times: int = 8,
        seed: int = 0,
    ) -> None:
        check_whole_number("loss.eval_times", eval_times, least=1)
        check_whole_number("loss.seed", seed, least=0)
        if noise_schedule is None:
            raise ConfigError("The loss of masked diffusion needs a noise schedule: set noise_schedule=log_linear.")
        self.model = model
        self.tokenizer = tokenizer
        self.noise_schedule = noise_schedule
        self.mask = tokenizer.mask_token_id
        self.eval_times = eval_times
        self.time_seed, self.mask_seed = stream_seed(seed, "time"), stream_seed(seed, "mask")

    def loss_fn(self, batch: Batch) -> LossOutput:
        """The NELBO of the batch over its eligible tokens; 0 where there is none."""
        eligible, index = batch["eligible"], batch["index"]
        if self.model.training:
            place = torch.arange(len(eligible), device=eligible.device)
            u = torch.rand((), device=eligible.device)
            uniforms = torch.rand(eligible.shape, device=eligible.device)
            nelbo = self.nelbo(batch, u + place / len(eligible), uniforms)
        else:
            nelbo = torch.zeros((), device=eligible.device)
            for place, uniforms in self._grid(index, eligible.shape[1]):
                nelbo = nelbo + self.nelbo(batch, place, uniforms) / self.eval_times
        num_tokens = eligible.sum()
        return {"loss": nelbo / num_tokens.clamp(min=1), "num_tokens": num_tokens}

    @torch.no_grad()
    def log_likelihood(self, context_ids: list[list[int]], token_ids: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Minus the NELBO of the tokens given the context and their number, (B,): a bound of log p from below, in nats.

        Every row gets the same draws, so that two continuations of one context differ by what they say. Nothing is
        written from left to right, so no row counts as greedy: all False, (B,).
        """
        prompts, canvas = max(map(len, context_ids)), max(map(len, token_ids))
        device, blank = next(self.model.parameters()).device, self.tokenizer.pad_token_id
        sides = [(context_ids, prompts, "left"), (token_ids, canvas, "right")]
        mask = torch.cat([attended(rows, length, side) for rows, length, side in sides], 1).to(device)
        index = torch.zeros(len(token_ids), dtype=torch.long, device=device)
        batch: Batch = {
            "input_ids": torch.cat([pad(rows, length, blank, side) for rows, length, side in sides], 1).to(device),
            "attention_mask": mask,
            "eligible": mask[:, prompts:],
            "index": index,
        }
        nelbo = torch.zeros(len(token_ids), device=device)
        for place, uniforms in self._grid(index, canvas):
            nelbo = nelbo + self.nelbo_of_rows(batch, place, uniforms) / self.eval_times
        return -nelbo, torch.zeros_like(index, dtype=torch.bool)

    def _grid(self, index: Tensor, length: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The draws of an evaluation: times (B,) and uniforms (B, T), by each row's index."""
        u = counter_uniforms(self.time_seed, index)  # (B,)
        position = torch.arange(length, device=index.device)
        for k in range(self.eval_times):
            yield (u + k) / self.eval_times, counter_uniforms(self.mask_seed, index[:, None], k, position)

    def nelbo(self, batch: Batch, place: Tensor, uniforms: Tensor) -> Tensor:
        """One draw of the batch's NELBO, summed over its rows, in nats: ()."""
        return self.nelbo_of_rows(batch, place, uniforms).sum()

    def nelbo_of_rows(self, batch: Batch, place: Tensor, uniforms: Tensor) -> Tensor:
        """One draw of each row's NELBO, in nats: (B,).

        Args:
            batch: clean text.
            place: (B,) the time of each row before it is scaled, modulo 1.
            uniforms: (B, T) in [0, 1), which decide what is masked.
        """
        input_ids = batch["input_ids"]
        length = uniforms.shape[1]
        t = (place % 1.0) * (1 - FIRST_TIME) + FIRST_TIME  # (B,)
        masked = batch["eligible"] & (uniforms < self.noise_schedule.mask_probability(t)[:, None])
        logits = self.model(
            blank_out(input_ids, masked, self.mask),
            batch["attention_mask"],
            logits_to_keep=length,
            sigma=self.noise_schedule.sigma(t),
            **packed_keywords(batch),
        )
        # In float32 whatever the precision of training: a sum of many small numbers.
        logits = logits.float()  # (B, T, V)
        logits[..., self.mask] = -torch.inf  # SUBS: no text holds MASK
        target_ids = input_ids[:, -length:].masked_fill(~masked, IGNORED)  # SUBS: a visible token costs nothing
        nll = F.cross_entropy(
            logits.flatten(0, 1), target_ids.flatten(), ignore_index=IGNORED, reduction="none"
        ).view_as(target_ids)
        weighted: Tensor = self.noise_schedule.weight(t).float() * nll.sum(-1)
        return weighted
