"""Conditioning: without effect at the start, an ordinary transformer with the gates at one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import AdaptiveGate, AdaptiveLayerNorm, TimestepEmbedder, Transformer

X = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))
C = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
POSITIONS = torch.arange(5)[None]


def test_at_the_start_conditioning_has_no_effect() -> None:
    torch.testing.assert_close(AdaptiveLayerNorm(16, 8)(X, C), F.layer_norm(X, (16,)))
    assert not AdaptiveGate(16, 8)(X, C).any()
    transformer = Transformer(16, 2, 2, 32, conditioning_dim=8)
    found = transformer(X, POSITIONS, conditioning=C)  # shut gates: each block is the identity
    torch.testing.assert_close(found, F.layer_norm(X, (16,)))
    assert torch.equal(found, transformer(X, POSITIONS, conditioning=-C))


def test_open_gates_make_it_the_unconditioned_transformer() -> None:
    torch.manual_seed(2)
    plain, adaptive = Transformer(16, 2, 2, 32), Transformer(16, 2, 2, 32, conditioning_dim=8)
    shared = {k: v for k, v in plain.state_dict().items() if "norm" not in k}
    assert not adaptive.load_state_dict(shared, strict=False).unexpected_keys
    for module in adaptive.modules():
        if isinstance(module, AdaptiveGate):
            torch.nn.init.ones_(module.modulation.bias)
    found = adaptive(X, POSITIONS, conditioning=C)
    torch.testing.assert_close(found, plain(X, POSITIONS), atol=1e-6, rtol=0)


def test_the_formulas() -> None:
    torch.manual_seed(3)
    norm, gate = AdaptiveLayerNorm(16, 8), AdaptiveGate(16, 8)
    for part in (norm, gate):
        torch.nn.init.normal_(part.modulation.weight)
    scale, shift = (F.silu(C) @ norm.modulation.weight.T).chunk(2, -1)
    expected = F.layer_norm(X, (16,)) * (1 + scale[:, None]) + shift[:, None]
    torch.testing.assert_close(norm(X, C), expected)
    expected = X * (F.silu(C) @ gate.modulation.weight.T)[:, None]
    torch.testing.assert_close(gate(X, C), expected)


def test_each_row_follows_its_own_conditioning_once_trained_a_step() -> None:
    torch.manual_seed(4)
    transformer = Transformer(16, 2, 2, 32, conditioning_dim=8)
    optimizer = torch.optim.SGD(transformer.parameters(), lr=0.1)
    for _ in range(2):  # the first step opens the gates
        loss = (transformer(X, POSITIONS, conditioning=C) - X.roll(1, 1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(p.grad.any() for p in transformer.parameters())
    before = transformer(X, POSITIONS, conditioning=C)
    changed = C.clone()
    changed[1] *= -1
    difference = (transformer(X, POSITIONS, conditioning=changed) - before).abs().amax((1, 2))
    assert (difference > 1e-5).tolist() == [False, True, False]


def test_timesteps_are_told_apart() -> None:
    torch.manual_seed(5)
    embedder = TimestepEmbedder(8)
    t = torch.tensor([0.0, 0.001, 0.5, 1.0, 7.0])
    c = embedder(t)
    assert c.shape == (5, 8)
    assert torch.pdist(c).min() > 1e-5
    angle = t[3] * 10_000 ** (-torch.arange(128) / 128)
    wave = torch.cat((angle.cos(), angle.sin()))
    torch.testing.assert_close(c[3], embedder.out(F.silu(embedder.hidden(wave))), atol=1e-5, rtol=0)
    assert embedder.bfloat16()(t).dtype == torch.bfloat16


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"conditioning_dim=None.* with a conditioning vector"):
        Transformer(16, 1, 2, 32)(X, POSITIONS, conditioning=C)
    with pytest.raises(ConfigError, match=r"conditioning_dim=8.* without a conditioning vector"):
        Transformer(16, 1, 2, 32, conditioning_dim=8)(X, POSITIONS)
    with pytest.raises(ConfigError, match="frequency_dim=5"):
        TimestepEmbedder(8, frequency_dim=5)
