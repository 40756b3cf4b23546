"""Which masked positions to fill next: the commit rules of masked language models and masked diffusion.

Pure functions on masks; True is a position that may be, or is to be, filled.

    random      ⌈masked / steps left⌉ positions, uniformly
    confidence  as many, the most confident ones: by the top probability, by the margin between the two likeliest
                tokens, or by the negative entropy; Gumbel noise may be added
    threshold   in order of uncertainty, the longest prefix with (sum − max) < γ; with entropies, γ bounds what the
                positions tell about one another (EB-Sampler, arXiv 2505.24857)

No rule ever fills nothing, and the last step fills all that is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xlm_runtime.errors import ConfigError
from xlm_runtime.nn.sampling import gumbel_noise
from xlm_runtime.options import check_choice, check_number

RULES = ("random", "confidence", "threshold")
MEASURES = ("top_prob", "margin", "entropy")


@dataclass(frozen=True)
class CommitRule:
    """A rule and its options, validated when made.

    Attributes:
        name: one of ``RULES``.
        measure: one of ``MEASURES``: what confidence, or uncertainty, is.
        noise: Gumbel noise times this number is added to the confidence; 0 adds none. For ``confidence``.
        gamma: γ of ``threshold``, >= 0, in nats for entropy, else in units of probability; 0 fills one position.

    Raises:
        ConfigError: a value out of range.
    """

    name: str
    measure: str = "top_prob"
    noise: float = 0.0
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_choice("predictor.method", self.name, RULES)
        check_choice("predictor.confidence", self.measure, MEASURES)
        check_number("predictor.confidence_noise", self.noise, "[0, inf)")
        check_number("predictor.gamma", self.gamma, "[0, inf)")

    def candidates(self, allowed: Tensor, steps_left: Tensor, uniforms: Tensor) -> Tensor:
        """The positions whose logits the rule wants to see.

        Args:
            allowed: (n, T) bool, the masked positions that may be filled in this step.
            steps_left: (n,) int64 >= 1, this step included.
            uniforms: (n, T) in [0, 1), fresh ones.

        Returns:
            (n, T) bool: for ``random`` what it fills, since it need not see them; else ``allowed``.
        """
        if self.name == "random":
            return commit_top(uniforms, allowed, commit_count(allowed, steps_left))
        return allowed

    def choose(self, logits: Tensor, candidates: Tensor, steps_left: Tensor, uniforms: Tensor) -> Tensor:
        """The positions that are filled in this step.

        Args:
            logits: (n, K, V) of the candidates' tokens.
            candidates: (n, K) bool; a row's other places are ignored.
            steps_left: (n,) int64 >= 1, this step included.
            uniforms: (n, K) in [0, 1), fresh ones.

        Returns:
            (n, K) bool, at least one True in each row with a candidate, and all candidates in a last step.
        """
        if self.name == "random":
            return candidates
        doubt = uncertainty(logits, self.measure)  # (n, K)
        if self.name == "threshold":
            return commit_below(doubt, candidates, self.gamma) | (candidates & (steps_left == 1)[:, None])
        confidence = -doubt.to(uniforms.dtype)
        if self.noise:
            confidence = confidence + self.noise * gumbel_noise(uniforms).to(uniforms)
        return commit_top(confidence, candidates, commit_count(candidates, steps_left))


def commit_count(masked: Tensor, steps_left: Tensor) -> Tensor:
    """⌈masked / steps left⌉ for each row: (n, T) bool and (n,) int64 >= 1 -> (n,) int64."""
    return -(-masked.sum(-1) // steps_left)


def commit_top(score: Tensor, allowed: Tensor, count: Tensor) -> Tensor:
    """The ``count`` (n,) allowed positions with the highest score, the first ones among equals: (n, T) bool."""
    return allowed & (_rank(-score, allowed) < count[:, None])


def commit_below(doubt: Tensor, allowed: Tensor, gamma: float) -> Tensor:
    """The longest prefix of the allowed positions, by growing ``doubt`` >= 0, with (sum − max) < γ; at least one.

    Args:
        doubt: (n, T).
        allowed: (n, T) bool.
        gamma: γ.

    Returns:
        (n, T) bool.
    """
    ordered, order = doubt.masked_fill(~allowed, math.inf).sort(dim=-1, stable=True)
    # In this order the last of a prefix is its maximum: without it, the sum is that of those before.
    before = (ordered.cumsum(-1) - ordered).nan_to_num(math.inf)  # behind the allowed ones: inf - inf
    fits = before < gamma
    fits[..., :1] = True
    return allowed & torch.zeros_like(allowed).scatter(-1, order, fits)


def uncertainty(logits: Tensor, measure: str) -> Tensor:
    """How unsure a distribution is, 0 where it knows the token.

    Args:
        logits: (..., V), any floating dtype; minus infinity leaves a token out.
        measure: ``top_prob``: 1 − p₁; ``margin``: 1 − (p₁ − p₂); ``entropy``: −Σ p log p, in nats. p₁ and p₂ are the
            two highest probabilities.

    Returns:
        (...) float32.
    """
    log_p = logits.float().log_softmax(-1)
    if measure == "top_prob":
        return 1 - log_p.amax(-1).exp()
    if measure == "margin":
        top = log_p.topk(min(2, log_p.shape[-1]), dim=-1).values.exp()
        return 1 - (2 * top[..., 0] - top.sum(-1))
    entropy: Tensor = torch.special.entr(log_p.exp()).sum(-1)
    return entropy


def current_block(masked: Tensor, step: int, steps: int, block_size: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Semi-autoregressive decoding: where a row may be filled now, and in how many steps.

    A block is ``block_size`` positions, the last one what is left; a row is in its first block with a masked position.
    A block has its share of the steps, by its positions: that which ends at position e of T is full after step
    ⌊steps e / T⌋. A row that comes to its block early has so many more steps.

    Args:
        masked: (n, T) bool, one True at least in each row.
        step: of ``steps``, from 0.
        steps: of the whole canvas; at least one a block, see ``check_blocks``.
        block_size: None is one block.

    Returns:
        allowed (n, T) bool; steps_left (n,) int64 >= 1 until the block is full, this one included; block_steps (n,)
        int64 >= 1, how many the block has by itself.
    """
    length = masked.shape[1]
    size = block_size or length
    of_position = torch.arange(length, device=masked.device) // size
    block = of_position[masked.to(torch.uint8).argmax(-1)]  # (n,); argmax: the first of the ones
    begin = steps * block * size // length
    end = steps * ((block + 1) * size).clamp(max=length) // length
    return masked & (of_position == block[:, None]), end - step, end - begin


def check_blocks(length: int, steps: int, block_size: int | None) -> None:
    """Raise a ConfigError unless a canvas of ``length`` positions has room for a block, and each block for a step."""
    if block_size is not None and block_size > length:
        raise ConfigError(
            f"predictor.block_size is {block_size}, but there are {length} positions to fill. Choose at most {length}, "
            "or null for one block."
        )
    blocks = 1 if block_size is None else -(-length // block_size)
    if steps < blocks:
        raise ConfigError(
            f"predictor.steps is {steps}, but {length} positions in blocks of {block_size} are {blocks} blocks, and "
            f"each needs a step. Take at least {blocks} steps, or larger blocks."
        )


def pack(wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The wanted positions of each row, moved to the front.

    Args:
        wanted: (n, T) bool.

    Returns:
        positions (n, K) int64, distinct within a row, the wanted ones first and in order; and is_wanted (n, K) bool.
        K is the most that a row wants. Waits for the device.
    """
    count = wanted.sum(-1)
    most = int(count.max()) if len(wanted) else 0
    positions = wanted.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[:, :most]
    return positions, torch.arange(most, device=wanted.device) < count[:, None]


def _rank(key: Tensor, allowed: Tensor) -> Tensor:
    """Place of each position when the allowed ones are sorted by ``key``, smallest first; the others come last."""
    order = key.masked_fill(~allowed, math.inf).argsort(dim=-1, stable=True)
    places = torch.arange(key.shape[-1], device=key.device).expand_as(order)
    return torch.empty_like(order).scatter(-1, order, places)
