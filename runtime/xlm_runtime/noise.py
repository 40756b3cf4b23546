"""Noise schedules of masked diffusion: how much of a text is masked at time t.

A token is still itself with probability α(t) = exp(−σ(t)), and masked with 1 − α(t). Time runs from 0, the clean text,
to 1, where (almost) all is masked. The continuous-time NELBO weighs the cross-entropy of a masked token by
σ′(t) / (exp σ(t) − 1) = −α′(t) / (1 − α(t)) (MDLM, arXiv 2406.07524).
"""

from __future__ import annotations

import torch
from torch import Tensor

from xlm_runtime.contracts import NoiseSchedule
from xlm_runtime.options import check_number


class LogLinearNoise(NoiseSchedule):
    """σ(t) = −log(1 − (1 − ε) t): the mask probability grows linearly in t (MDLM, arXiv 2406.07524).

    All methods take t of any shape in [0, 1] and return its shape and dtype.

    Args:
        eps: ε, the share of tokens that time 1 leaves unmasked; it keeps σ finite.

    Raises:
        ConfigError: ``eps`` outside (0, 1).
    """

    def __init__(self, eps: float = 1e-3) -> None:
        check_number("noise_schedule.eps", eps, "(0, 1)")
        self.eps = eps

    def sigma(self, t: Tensor) -> Tensor:
        """σ(t), the total noise."""
        return -torch.log1p(-(1 - self.eps) * t)

    def rate(self, t: Tensor) -> Tensor:
        """σ′(t) = (1 − ε) / (1 − (1 − ε) t)."""
        return (1 - self.eps) / (1 - (1 - self.eps) * t)

    def mask_probability(self, t: Tensor) -> Tensor:
        """1 − exp(−σ(t)) = (1 − ε) t."""
        return (1 - self.eps) * t

    def weight(self, t: Tensor) -> Tensor:
        """σ′(t) / (exp σ(t) − 1) = 1 / t, the same for every ε; t > 0."""
        return 1 / t
