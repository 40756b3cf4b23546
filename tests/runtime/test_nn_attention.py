"""Attention: equal to its definition, whichever way it is computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import SelfAttention, attend, bidirectional_mask, causal_mask, rotary_cos_sin


def by_definition(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """In float64, one query at a time."""
    q, k, v = q.double(), k.double(), v.double()
    mask = mask.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    out = torch.zeros_like(q)
    for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in q.shape[:3])).tolist():
        keys = mask[b, h, i].nonzero()[:, 0]
        weight = (k[b, h, keys] @ q[b, h, i] / q.shape[-1] ** 0.5).softmax(0)
        out[b, h, i] = weight @ v[b, h, keys]
    return out


# Two lengths on either side of the rule that chooses the way of computing, and a single query.
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (42, 42), (130, 130), (1, 40), (3, 9)])
def test_attend_is_the_definition(queries: int, keys: int) -> None:
    generator = torch.Generator().manual_seed(queries)
    q = torch.randn(2, 2, queries, 8, generator=generator)
    k, v = torch.randn(2, 2, 2, keys, 8, generator=generator)
    real = torch.rand(2, keys, generator=generator) < 0.8
    mask = causal_mask(real, num_queries=queries)
    found = attend(q, k, v, mask).double()
    torch.testing.assert_close(found, by_definition(q, k, v, mask), atol=1e-5, rtol=0)
    everything = torch.ones(1, 1, queries, keys, dtype=torch.bool)
    found = attend(q, k, v).double()
    torch.testing.assert_close(found, by_definition(q, k, v, everything), atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [42, 130])
def test_gradients_agree_with_those_of_the_fused_kernel(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    inputs = [torch.randn(2, 2, length, 8, generator=generator) for _ in range(3)]
    mask = bidirectional_mask(torch.rand(2, length, generator=generator) < 0.7)
    grads = []
    for function in (attend, torch.nn.functional.scaled_dot_product_attention):
        leaves = [x.clone().requires_grad_() for x in inputs]
        (function(*leaves, mask) ** 2).sum().backward()
        grads.append(torch.stack([leaf.grad for leaf in leaves]))
    torch.testing.assert_close(grads[0], grads[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("length", [20, 300])
def test_half_precision_stays_near_float32(length: int) -> None:
    generator = torch.Generator().manual_seed(5)
    q, k, v = torch.randn(3, 1, 2, length, 16, generator=generator).bfloat16()
    mask = causal_mask(torch.ones(1, length))
    found = attend(q, k, v, mask)
    assert found.dtype == torch.bfloat16
    expected = attend(q.float(), k.float(), v.float(), mask)
    torch.testing.assert_close(found.float(), expected, atol=3e-2, rtol=0)


def test_self_attention_is_its_formula() -> None:
    torch.manual_seed(6)
    layer = SelfAttention(16, 2).eval()
    x = torch.randn(2, 5, 16)
    positions = torch.tensor([[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]])
    mask = causal_mask(torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]))
    assert sorted(name for name, _ in layer.named_parameters()) == ["out.weight", "qkv.weight"]

    wq, wk, wv = layer.qkv.weight.split(16)
    q, k, v = ((x @ w.T).view(2, 5, 2, 8).transpose(1, 2) for w in (wq, wk, wv))
    cos, sin = rotary_cos_sin(positions, 8)
    turn = torch.cat((cos, cos), -1), torch.cat((sin, sin), -1)

    def rotated(y: Tensor) -> Tensor:
        return y * turn[0] + torch.cat((-y[..., 4:], y[..., :4]), -1) * turn[1]

    y = by_definition(rotated(q), rotated(k), v, mask).float().transpose(1, 2).reshape(2, 5, 16)
    found = layer(x, (cos, sin), mask)
    torch.testing.assert_close(found, y @ layer.out.weight.T, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("d_model", "num_heads"), [(10, 3), (6, 2), (8, 0)])
def test_sizes_that_do_not_fit(d_model: int, num_heads: int) -> None:
    with pytest.raises(ConfigError, match=f"d_model={d_model} .*num_heads={num_heads}"):
        SelfAttention(d_model, num_heads)
