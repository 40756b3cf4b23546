"""Adaptive layer norm, for networks that are told a time or a noise level.

``norm(x, c) = LN(x) * (1 + scale(c)) + shift(c)``, and a branch joins the residual stream as
``gate(c) * branch``. The maps from c start at zero: at first c has no effect and each block is the
identity. As in the paper (adaLN-Zero, arXiv 2212.09748) the layer norm has no weights of its own,
and c passes a SiLU before each map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlm_runtime.errors import ConfigError


class AdaptiveLayerNorm(nn.Module):
    """A layer norm whose scale and shift are made from a conditioning vector.

    Args:
        d_model: the width that is normalised.
        conditioning_dim: the width of the conditioning vector.
        eps: added to the variance.
    """

    def __init__(self, d_model: int, conditioning_dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model, eps=eps, elementwise_affine=False)
        self.modulation = nn.Linear(conditioning_dim, 2 * d_model)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Zero: at first the conditioning has no effect."""
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, conditioning: Tensor) -> Tensor:
        """``x`` (B, L, D) and ``conditioning`` (B, C) -> (B, L, D)."""
        modulation = self.modulation(F.silu(conditioning))[:, None]  # (B, 1, 2 D)
        scale, shift = modulation.chunk(2, dim=-1)
        y: Tensor = self.norm(x) * (1 + scale) + shift
        return y


class AdaptiveGate(nn.Module):
    """Scales a residual branch, feature by feature, with a gate made from a conditioning vector.

    Args:
        d_model: the width of the branch.
        conditioning_dim: the width of the conditioning vector.
    """

    def __init__(self, d_model: int, conditioning_dim: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(conditioning_dim, d_model)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Zero: at first the gate is shut."""
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, branch: Tensor, conditioning: Tensor) -> Tensor:
        """``branch`` (B, L, D) and ``conditioning`` (B, C) -> (B, L, D)."""
        y: Tensor = branch * self.modulation(F.silu(conditioning))[:, None]
        return y


class TimestepEmbedder(nn.Module):
    """A time or noise level -> a conditioning vector: cosines and sines, then an MLP.

    Args:
        conditioning_dim: the width C of the result.
        frequency_dim: how many cosines and sines, together; even.
        max_period: the longest period is ``2 pi * max_period``.

    Raises:
        ConfigError: ``frequency_dim`` is odd.
    """

    def __init__(
        self,
        conditioning_dim: int,
        frequency_dim: int = 256,
        max_period: float = 10_000.0,
    ) -> None:
        super().__init__()
        if frequency_dim < 2 or frequency_dim % 2:
            raise ConfigError(
                f"frequency_dim={frequency_dim} of the timestep embedding must be even and at "
                "least 2 (half of it are cosines, half sines)."
            )
        self.frequency_dim = frequency_dim
        self.max_period = max_period
        self.hidden = nn.Linear(frequency_dim, conditioning_dim)
        self.out = nn.Linear(conditioning_dim, conditioning_dim)

    def forward(self, t: Tensor) -> Tensor:
        """``t`` (B,), any real number -> (B, C). The angles are computed in float32."""
        half = self.frequency_dim // 2
        index = torch.arange(half, device=t.device, dtype=torch.float32)
        frequency = self.max_period ** (-index / half)
        angle = t[:, None].to(torch.float32) * frequency  # (B, frequency_dim / 2)
        wave = torch.cat((angle.cos(), angle.sin()), dim=-1)
        y: Tensor = self.out(F.silu(self.hidden(wave.to(self.hidden.weight.dtype))))
        return y
