"""Draw tokens from logits: temperature, top-k, top-p, Gumbel-max.

Everything here takes **logits** (log-probabilities are logits too), never probabilities, and leaves
out a token by giving it the logit minus infinity. The order is temperature, top-k, top-p, draw.

Draws are exact: noise and masses are float64. In float32 a uniform number is never nearer to 1 than
2^-24, the Gumbel noise is cut off at 16.6, and unlikely tokens come too seldom, as if the
temperature were lower (arXiv 2409.02908). Nothing here waits for the device, except on MPS, which
has no float64: there it is the CPU that draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xlm_runtime.options import check_number, check_whole_number


@dataclass(frozen=True)
class SamplingOptions:
    """How to draw a token; validated when made.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: keep the k likeliest tokens; None keeps all.
        top_p: keep the smallest set of likeliest tokens whose mass reaches p; None keeps all.
        prefix: what stands before these names in the configuration, such as "predictor."; errors
            show it.

    Raises:
        ConfigError: a value out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    prefix: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        check_number(f"{self.prefix}temperature", self.temperature, "[0, inf)")
        check_whole_number(f"{self.prefix}top_k", self.top_k, least=1, or_null=True)
        check_number(f"{self.prefix}top_p", self.top_p, "(0, 1]", or_null=True)

    def sample(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        uniforms: Tensor | None = None,
    ) -> Tensor:
        """``sample`` with these options."""
        return _draw(logits, self, generator, uniforms)


def sample(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    uniforms: Tensor | None = None,
) -> Tensor:
    """Draw one token from each distribution.

    Args:
        logits: (..., V), any floating dtype.
        temperature, top_k, top_p: see ``SamplingOptions``.
        generator: where Gumbel noise comes from; None: the global generator.
        uniforms: (...) numbers in [0, 1), one a draw, instead of noise: the draw inverts the
            distribution function there. With ``row_uniforms`` a row's tokens are the same in every
            batch.

    Returns:
        (...) int64.

    Raises:
        ConfigError: an option out of range.
    """
    return _draw(logits, SamplingOptions(temperature, top_k, top_p), generator, uniforms)


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Logits (..., V) over ``temperature``; a ConfigError unless that is finite and > 0."""
    check_number("temperature", temperature, "(0, inf)")  # for 0, take argmax
    return logits / temperature


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    """Keep exactly the k largest logits (..., V), all if V <= k; the others become -inf.

    Raises:
        ConfigError: ``k`` < 1.
    """
    SamplingOptions(top_k=k)  # validates
    if k >= logits.shape[-1]:
        return logits
    kept, tokens = logits.topk(k, dim=-1)
    return torch.full_like(logits, -math.inf).scatter(-1, tokens, kept)


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of likeliest tokens whose mass reaches p; the others become -inf.

    ``logits`` is (..., V). The token that crosses p is in the set, so at least one token is, and
    the mass kept is >= p (nucleus sampling, arXiv 1904.09751).

    Raises:
        ConfigError: ``p`` outside (0, 1].
    """
    SamplingOptions(top_p=p)  # validates
    if p == 1:
        return logits
    ordered, tokens = _float64(logits).sort(dim=-1, descending=True, stable=True)
    mass = ordered.softmax(-1).cumsum(-1)
    before = mass.roll(1, -1)  # the mass of all likelier tokens
    before[..., 0] = 0.0
    dropped = torch.zeros_like(mass, dtype=torch.bool).scatter(-1, tokens, before >= p)
    return logits.masked_fill(dropped.to(logits.device), -math.inf)


def gumbel_noise(uniforms: Tensor) -> Tensor:
    """Standard Gumbel noise ``-log(-log u)``, float64, of numbers u in [0, 1) of any shape."""
    smallest = 2.0**-54  # u = 0 would give -inf, and -inf + -inf orders nothing
    return -(-_float64(uniforms).clamp_min(smallest).log()).log()


def gumbel_max(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """An exact draw from ``softmax(logits)``: the argmax of logits plus Gumbel noise, in float64.

    Args:
        logits: (..., V); -inf is never drawn as long as one logit of its row is finite.
        generator: on any device; None: the global generator of the logits' device.

    Returns:
        (...) int64.
    """
    wide = _float64(logits)
    device = wide.device if generator is None else generator.device
    noise = torch.rand(wide.shape, generator=generator, device=device, dtype=torch.float64)
    return (wide + gumbel_noise(noise).to(wide.device)).argmax(-1).to(logits.device)


def inverse_cdf(logits: Tensor, uniforms: Tensor) -> Tensor:
    """An exact draw from ``softmax(logits)``: the first token whose cumulative mass exceeds u.

    Args:
        logits: (..., V); -inf is never drawn as long as one logit of its row is finite.
        uniforms: (...) in [0, 1).

    Returns:
        (...) int64.
    """
    probability = _float64(logits).softmax(-1)
    mass = probability.cumsum(-1)
    # The total is not exactly 1; and in a parallel sum even a token of probability zero may seem to
    # add something.
    target = uniforms.to(mass)[..., None] * mass[..., -1:]
    exceeds = (mass > target) & (probability > 0)
    return exceeds.to(torch.uint8).argmax(-1).to(logits.device)  # argmax: the first of the ones


def _draw(
    logits: Tensor,
    options: SamplingOptions,
    generator: torch.Generator | None,
    uniforms: Tensor | None,
) -> Tensor:
    if options.temperature == 0:
        return logits.argmax(-1)
    tokens = None
    if options.top_k is not None and options.top_k < logits.shape[-1]:
        # The k largest come first whatever the temperature; all that follows is over k, not V.
        logits, tokens = logits.topk(options.top_k, dim=-1)
    wide = apply_temperature(_float64(logits), options.temperature)
    if options.top_p is not None:
        wide = top_p_filter(wide, options.top_p)
    drawn = gumbel_max(wide, generator) if uniforms is None else inverse_cdf(wide, uniforms)
    drawn = drawn.to(logits.device)
    return drawn if tokens is None else tokens.gather(-1, drawn[..., None])[..., 0]


def _float64(x: Tensor) -> Tensor:
    """In float64; from MPS, which has none, on the CPU."""
    return x.to("cpu" if x.device.type == "mps" else x.device, torch.float64)
