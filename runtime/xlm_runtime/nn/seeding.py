"""Random numbers that depend on (seed, names, row, step, position) and on nothing else.

A generator hands out its numbers in the order of the calls, so a row's numbers change with the
batch that it sits in. Here each number is a hash of its own coordinates (a counter-based generator,
as Salmon et al., SC 2011): row 17 gets the same numbers in every batch, on every number of devices,
and whatever the other rows do.

The hash absorbs one coordinate after the other with the finaliser of SplitMix64 (Steele et al.,
OOPSLA 2014), in int64 arithmetic that wraps around. It is vectorised and makes no host
synchronisation. Not for cryptography.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1


def stream_seed(seed: int, *names: str | int) -> int:
    """A seed for a purpose of its own, such as ``stream_seed(cfg.seed, "val", "mask")``.

    Returns:
        An int in [0, 2^63), the same on every machine and in every process.
    """
    digest = hashlib.blake2b(repr((seed, *names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def counter_uniforms(
    seed: int,
    *coordinates: Tensor | int,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Independent uniform numbers in [0, 1), one for each combination of coordinates.

    ``counter_uniforms(seed, index[:, None], step, position[None, :])`` is (B, L).

    Args:
        seed: any int; see ``stream_seed`` for one a purpose.
        coordinates: integer tensors that broadcast together, or ints. Their order matters; use one
            order a seed.
        dtype: float64 (53 random bits) by default, float32 (24) where the device has no float64
            (MPS).

    Returns:
        The broadcast shape of the coordinates, on their device.
    """
    device = next((c.device for c in coordinates if isinstance(c, Tensor)), torch.device("cpu"))
    state = _mix(torch.full((), _signed(seed), dtype=torch.int64, device=device))
    for coordinate in coordinates:
        if isinstance(coordinate, Tensor):
            state = _mix(state ^ coordinate.to(torch.int64))
        else:
            state = _mix(state ^ _signed(coordinate))
    if dtype is None:
        dtype = torch.float32 if device.type == "mps" else torch.float64
    bits = 53 if dtype == torch.float64 else 24
    return _shift_right(state, 64 - bits).to(dtype) * 2.0**-bits


def row_uniforms(seed: int, rows: Tensor, count: int, step: int = 0) -> Tensor:
    """``count`` uniform numbers in [0, 1) for each row of a batch.

    Args:
        seed: any int.
        rows: (B,) int64, what names each row for good: its example's index in the data set, not its
            place in the batch.
        count: how many numbers a row; the first n of them do not depend on it.
        step: the step of a loop that draws anew each time.

    Returns:
        (B, count) float64 (float32 on MPS), on the device of ``rows``.
    """
    position = torch.arange(count, device=rows.device)
    return counter_uniforms(seed, rows[:, None], step, position)


def _signed(value: int) -> int:
    """The int64 with the same lowest 64 bits."""
    return ((value + (1 << 63)) & _MASK64) - (1 << 63)


def _shift_right(x: Tensor, count: int) -> Tensor:
    """Without the sign bit's copies, which ``>>`` of an int64 shifts in."""
    return (x >> count) & ((1 << (64 - count)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift_right(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)
