"""Rotary positions: the pairing, the angles, and that only differences of positions count."""

from __future__ import annotations

import cmath

import pytest
import torch

from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import apply_rotary, rotary_cos_sin


def test_each_pair_is_turned_by_its_own_angle() -> None:
    head_dim, positions = 8, torch.tensor([[0, 3, 1, 50]])
    x = torch.randn(1, 2, 4, head_dim, generator=torch.Generator().manual_seed(0))
    turned = apply_rotary(x, *rotary_cos_sin(positions, head_dim))
    for head in range(2):
        for token in range(4):
            for i in range(head_dim // 2):
                angle = int(positions[0, token]) * 10_000.0 ** (-2 * i / head_dim)
                pair = complex(x[0, head, token, i], x[0, head, token, i + head_dim // 2])
                expected = pair * cmath.exp(1j * angle)
                found = turned[0, head, token]
                assert float(found[i]) == pytest.approx(expected.real, abs=1e-5)
                assert float(found[i + head_dim // 2]) == pytest.approx(expected.imag, abs=1e-5)


def test_shifting_all_positions_leaves_the_scores_equal() -> None:
    generator = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 3, 2, 6, 32, generator=generator)
    positions = torch.tensor([[0, 1, 2, 3, 4, 5], [5, 0, 3, 1, 9, 2], [0, 0, 0, 1, 2, 3]])

    def scores(shift: int) -> torch.Tensor:
        rotary = rotary_cos_sin(positions + shift, 32)
        return apply_rotary(q, *rotary) @ apply_rotary(k, *rotary).transpose(-1, -2)

    torch.testing.assert_close(scores(37), scores(0), atol=1e-4, rtol=0)
    assert not torch.allclose(scores(0), q @ k.transpose(-1, -2), atol=0.1)


def test_position_zero_changes_nothing() -> None:
    x = torch.randn(1, 1, 3, 4, generator=torch.Generator().manual_seed(2))
    assert torch.equal(apply_rotary(x, *rotary_cos_sin(torch.zeros(1, 3).long(), 4)), x)


def test_half_precision_goes_in_and_comes_out_but_is_not_computed_in() -> None:
    x = torch.randn(1, 1, 5, 16, generator=torch.Generator().manual_seed(3)).bfloat16()
    cos, sin = rotary_cos_sin(torch.arange(1000, 1005)[None], 16)
    assert cos.dtype == sin.dtype == torch.float32
    turned = apply_rotary(x, cos, sin)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned, apply_rotary(x.float(), cos, sin).bfloat16())


def test_an_odd_head_is_refused() -> None:
    with pytest.raises(ConfigError, match="width of an attention head is 7"):
        rotary_cos_sin(torch.zeros(1, 1).long(), 7)
