"""The sampling loop of MLM: from a text with blanks to a full one, a few blanks at a time.

    x_j ~ softmax(f(logits_j / temperature)) for blanks j,  f: top-k, then top-p (arXiv 1904.09751)

Each step runs the network once, draws such tokens, and fills some of the blanks, by a rule:

    random      ⌈blanks / steps left⌉ of them, uniformly
    confidence  as many, the most confident: by the top probability p₁, by the margin p₁ − p₂, or by the negative
                entropy (Mask-Predict, arXiv 1904.09324), with Gumbel noise if wanted
    threshold   by growing uncertainty, the longest prefix with (sum − max) < γ (EB-Sampler, arXiv 2505.24857)

At least one is filled, and the last step fills all that is left. With one blank a step, every rule draws exactly from
the joint distribution that the network's conditionals define, if these are consistent with one another.

EOS ends a text. A row whose text has no blank left leaves the batch, so it costs nothing more, and the loop ends with
the last row. Only the logits of blanks that may be filled in the step are computed.

Departures from Mask-Predict: a token that has been written is never masked again; and no length is predicted, for EOS
and padding are written like words. Special tokens besides these two are left out before the softmax. Masses are
float64, and a row's draws depend on (seed, its index, the step, the position), so that its batch makes no difference.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from xlm_runtime import Predictor
from xlm_runtime.nn import SamplingOptions, counter_uniforms, stream_seed
from xlm_runtime.nn.filling import Canvas, canvas_rows
from xlm_runtime.nn.unmasking import CommitRule, check_blocks, current_block, pack
from xlm_runtime.options import check_whole_number
from xlm_runtime.tracing import Traceable

from .types_mlm import Prediction, PredictionBatch


class MlmPredictor(Traceable, Predictor[PredictionBatch, Prediction]):
    """Each step: x_j ~ softmax(f(logits_j / temperature)) for blanks j, and a rule says which of them are filled.

    ``input_ids`` (B, L) with MASK at the blanks -> ``ids`` (B, T); see the top of this file.

    Args:
        model: ids -> logits.
        tokenizer: for the special ids, and to make text.
        noise_schedule: not used; the runtime gives it to every predictor.
        method: random, confidence or threshold. Options of another method are not looked at.
        steps: at most so many; None: as many as the canvas has positions.
        confidence: top_prob, margin or entropy; for confidence and threshold.
        confidence_noise: Gumbel noise times this is added to the confidence; 0: none.
        gamma: γ of threshold; 0 fills one position a step.
        block_size: fill block after block of so many positions, left to right; None: the canvas is one block.
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: draw among the k likeliest tokens; None: among all.
        top_p: draw among the smallest set of likeliest tokens whose mass reaches p; None: among all.
        seed: of the draws. A row's draws depend on the seed, its index, the step and the position, not on its batch.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        noise_schedule: Any = None,
        method: str = "confidence",
        steps: int | None = None,
        confidence: str = "top_prob",
        confidence_noise: float = 0.0,
        gamma: float = 0.1,
        block_size: int | None = None,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> None:
        check_whole_number("predictor.steps", steps, least=1, or_null=True)
        check_whole_number("predictor.block_size", block_size, least=1, or_null=True)
        check_whole_number("predictor.seed", seed, least=0)
        self.model = model
        self.tokenizer = tokenizer
        self.noise_schedule = noise_schedule
        self.rule = CommitRule(method, confidence, confidence_noise, gamma)
        self.steps = steps
        self.block_size = block_size
        self.sampling = SamplingOptions(temperature, top_k, top_p, prefix="predictor.")
        self.order_seed, self.token_seed = stream_seed(seed, "order"), stream_seed(seed, "token")

    def check_batch(self, batch: PredictionBatch) -> None:
        """Refuse, before training begins, blocks that do not fit the canvas, or the steps."""
        length = batch["target_ids"].shape[1]
        check_blocks(length, self.steps or length, self.block_size)

    @torch.no_grad()
    def predict(self, batch: PredictionBatch) -> Prediction:
        """Fill the blanks of every row.

        Raises:
            ConfigError: blocks that do not fit the canvas, or the steps.
        """
        length = batch["target_ids"].shape[1]
        steps = self.steps or length
        check_blocks(length, steps, self.block_size)
        ids, mask, index = batch["input_ids"], batch["attention_mask"], batch["index"]
        canvas = Canvas(self.tokenizer, ids, mask, index, length, self.recorder)
        everywhere = torch.arange(length, device=canvas.index.device)
        for step in range(steps):
            if not len(canvas):
                break
            allowed, steps_left, _ = current_block(canvas.masked, step, steps, self.block_size)
            order = self._uniforms(self.order_seed, canvas, step, everywhere)  # (n, T)
            positions, candidates = pack(self.rule.candidates(allowed, steps_left, order))  # (n, K)
            logits = canvas.logits(self.model, positions)
            tokens = self.sampling.sample(logits, uniforms=self._uniforms(self.token_seed, canvas, step, positions))
            chosen = self.rule.choose(logits, candidates, steps_left, order.gather(1, positions))
            canvas.fill(positions, tokens, chosen)
        return {"ids": canvas.ids(), "network_calls": canvas.network_calls}

    def _uniforms(self, seed: int, canvas: Canvas, step: int, positions: Tensor) -> Tensor:
        return counter_uniforms(seed, canvas.index[:, None], step, positions)

    def to_dict(self, batch: PredictionBatch, preds: Prediction) -> list[dict[str, Any]]:
        """Rows of text and ids, and how often the network ran. ``truth`` is None where none is known."""
        rows = canvas_rows(self.tokenizer, batch["input_ids"], preds["ids"], batch["target_ids"])
        calls = preds["network_calls"].tolist()
        return [{**row, "network_calls": count} for row, count in zip(rows, calls, strict=True)]
