"""The samplers of MDLM: from a canvas of masks, or a text with some, back to a clean text.

By time, with p the network under SUBS and m_t the mask probability at time t:

    ddpm           steps from t = 1 to 0; from t to s a masked position is revealed with probability (m_t − m_s) / m_t,
                   and is then v with probability p(v); all positions of a step are drawn independently of each other,
                   so it is exact only as the steps grow many (MDLM, arXiv 2406.07524)
    ddpm_cache     the same draws, token for token; but the network runs only on rows, and in steps, that reveal
                   something. The others have no use for it, so this is exact with time conditioning too
    first_hitting  exact: with n masked, t <- t u^(1/n), and one uniform masked position is revealed; one network call
                   a token (arXiv 2409.02908, for a mask probability that is linear in t)

By rule, as masked language models do; without regard to time:

    random         ⌈masked / steps left⌉ positions, uniformly
    confidence     as many, the most confident: by the top probability p₁, by p₁ − p₂, or by the negative entropy
    threshold      by growing uncertainty, the longest prefix with (sum − max) < γ (arXiv 2505.24857)

Under a rule at least one position is filled in a step; after the last step no mask is left, whatever the method. EOS
ends a text: a row whose text has no mask left leaves the batch, so it costs nothing more. Only the logits of positions
that may be filled in the step are computed. Draws are float64 (arXiv 2409.02908 on what float32 does to them).
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from xlm_runtime import Predictor
from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import SamplingOptions, counter_uniforms, stream_seed
from xlm_runtime.nn.filling import Canvas, canvas_rows
from xlm_runtime.nn.unmasking import RULES, CommitRule, check_blocks, commit_top, current_block, pack
from xlm_runtime.options import check_choice, check_whole_number
from xlm_runtime.tracing import Traceable

from .types_mdlm import Prediction, PredictionBatch

BY_TIME = ("ddpm", "ddpm_cache", "first_hitting")


class MdlmPredictor(Traceable, Predictor[PredictionBatch, Prediction]):
    """From t to s each masked position becomes x_j ~ p with probability (m_t − m_s) / m_t; or a rule says which do.

    ``input_ids`` (B, L) with MASK at the blanks -> ``ids`` (B, T); see the top of this file.

    Args:
        model: ids and noise level -> logits.
        tokenizer: for the special ids, and to make text.
        noise_schedule: with ``sigma`` and ``mask_probability``.
        method: ddpm, ddpm_cache, first_hitting, random, confidence or threshold.
        steps: how many, for a rule at most so many; None: as many as the canvas has positions. first_hitting has one
            for each masked position, and takes no other number.
        confidence: top_prob, margin or entropy; for confidence and threshold.
        confidence_noise: Gumbel noise times this is added to the confidence; 0: none.
        gamma: γ of threshold; 0 fills one position a step.
        block_size: semi-autoregressive: block after block of so many positions, left to right, each from t = 1 to 0;
            None: the canvas is one block.
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: draw among the k likeliest tokens; None: among all.
        top_p: draw among the smallest set of likeliest tokens whose mass reaches p; None: among all.
        seed: of the draws. A row's draws depend on the seed, its index, the step and the position, not on its batch.

    Raises:
        ConfigError: an option out of its range, no noise schedule.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        noise_schedule: Any = None,
        method: str = "first_hitting",
        steps: int | None = None,
        confidence: str = "top_prob",
        confidence_noise: float = 0.0,
        gamma: float = 0.1,
        block_size: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> None:
        check_choice("predictor.method", method, (*BY_TIME, *RULES))
        check_whole_number("predictor.steps", steps, least=1, or_null=True)
        check_whole_number("predictor.block_size", block_size, least=1, or_null=True)
        check_whole_number("predictor.seed", seed, least=0)
        if method == "first_hitting" and steps is not None:
            raise ConfigError(f"predictor.steps is {steps}, but first_hitting has one a position: set it to null.")
        if noise_schedule is None:
            raise ConfigError("The sampler of masked diffusion needs a noise schedule: set noise_schedule=log_linear.")
        self.model = model
        self.tokenizer = tokenizer
        self.noise_schedule = noise_schedule
        self.method = method
        self.rule = CommitRule("random" if method in BY_TIME else method, confidence, confidence_noise, gamma)
        self.steps = steps
        self.block_size = block_size
        self.sampling = SamplingOptions(temperature, top_k, top_p, prefix="predictor.")
        self.order_seed, self.token_seed = stream_seed(seed, "order"), stream_seed(seed, "token")
        self.time_seed = stream_seed(seed, "time")

    def check_batch(self, batch: PredictionBatch) -> None:
        """Refuse, before training begins, blocks that do not fit the canvas, or the steps."""
        length = batch["target_ids"].shape[1]
        check_blocks(length, self.steps or length, self.block_size)

    @torch.no_grad()
    def predict(self, batch: PredictionBatch) -> Prediction:
        """Fill the masked positions of every row.

        Raises:
            ConfigError: blocks that do not fit the canvas, or the steps.
        """
        length = batch["target_ids"].shape[1]
        steps = self.steps or length
        check_blocks(length, steps, self.block_size)
        ids, mask, index = batch["input_ids"], batch["attention_mask"], batch["index"]
        canvas = Canvas(self.tokenizer, ids, mask, index, length, self.recorder)
        everywhere = torch.arange(length, device=canvas.index.device)
        hit = torch.ones(len(batch["index"]), device=canvas.index.device)  # (B,) the time of each row's last reveal
        # What is given besides the blanks does not diffuse here, but did in training: at process time t, t times the
        # share of blanks is masked. (B,), of rows that have any.
        share = torch.ones_like(hit)
        share[canvas.rows] = self._masked_share(canvas, length)
        for step in range(steps):
            if not len(canvas):
                break
            allowed, steps_left, block_steps = current_block(canvas.masked, step, steps, self.block_size)
            order = self._uniforms(self.order_seed, canvas, step, everywhere)  # (n, T)
            if self.method == "first_hitting":
                u = counter_uniforms(self.time_seed, canvas.index, step)
                hit[canvas.rows] *= (u ** (1 / allowed.sum(-1))).float()
                t, wanted = hit[canvas.rows], commit_top(order, allowed, torch.ones_like(steps_left))
            elif self.method in BY_TIME:
                t, probability = self._reverse_step(steps_left.to(order.dtype), block_steps)
                wanted = allowed & (order < probability[:, None])
            else:
                wanted = self.rule.candidates(allowed, steps_left, order)
            if self.method in BY_TIME and self.block_size is None:
                t = t * share[canvas.rows]
            else:  # no time of the whole canvas is at hand: the one at which as much is masked as is now
                t = self._masked_share(canvas, length)
            positions, candidates = pack(wanted)  # (n, K)
            rows = torch.arange(len(canvas), device=wanted.device)
            if self.method == "ddpm_cache":
                rows = rows[wanted.any(-1)]
            if not len(rows):
                continue
            logits = canvas.logits(self.model, positions, rows, sigma=self.noise_schedule.sigma(t[rows]).float())
            uniforms = self._uniforms(self.token_seed, canvas, step, positions)
            tokens = torch.zeros_like(positions)
            tokens[rows] = self.sampling.sample(logits, uniforms=uniforms[rows])
            chosen = self.rule.choose(logits, candidates, steps_left, order.gather(1, positions))
            canvas.fill(positions, tokens, chosen)
        return {"ids": canvas.ids(), "network_calls": canvas.network_calls}

    @staticmethod
    def _masked_share(canvas: Canvas, length: int) -> Tensor:
        return canvas.masked.sum(-1) / canvas.attention_mask[:, -length:].sum(-1)

    def _reverse_step(self, steps_left: Tensor, block_steps: Tensor) -> tuple[Tensor, Tensor]:
        """The time t, and the probability that a masked position is revealed until s: (n,) each; 1 where s = 0."""
        # A row that comes to a block early waits at t = 1.
        t, s = ((left / block_steps).clamp(max=1) for left in (steps_left, steps_left - 1))
        m_t, m_s = self.noise_schedule.mask_probability(t), self.noise_schedule.mask_probability(s)
        return t, (m_t - m_s) / m_t

    def _uniforms(self, seed: int, canvas: Canvas, step: int, positions: Tensor) -> Tensor:
        return counter_uniforms(seed, canvas.index[:, None], step, positions)

    def to_dict(self, batch: PredictionBatch, preds: Prediction) -> list[dict[str, Any]]:
        """Rows of text and ids, and how often the network ran. ``truth`` is None where none is known."""
        rows = canvas_rows(self.tokenizer, batch["input_ids"], preds["ids"], batch["target_ids"])
        calls = preds["network_calls"].tolist()
        return [{**row, "network_calls": count} for row, count in zip(rows, calls, strict=True)]
