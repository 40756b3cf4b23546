"""The backbone: what may and what must not change its output."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import (
    Transformer,
    bidirectional_mask,
    causal_mask,
    init_weights,
    positions_from_mask,
)
from xlm_runtime.nn.features import keep_positions

D = 32


def make_transformer(**options: object) -> Transformer:
    torch.manual_seed(0)
    sizes = {"d_model": D, "num_layers": 3, "num_heads": 2, "d_ff": 48, **options}
    transformer = Transformer(**sizes).eval()  # type: ignore[arg-type]
    # Bigger than at the start, so that attention is far from uniform and a leak would be seen.
    with torch.no_grad():
        for weight in transformer.parameters():
            if weight.dim() == 2:
                weight.mul_(8)
    return transformer


def causal(transformer: Transformer, x: Tensor, real: Tensor) -> Tensor:
    return transformer(x, positions_from_mask(real), causal_mask(real))


def embeddings(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, D, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [12, 140])
def test_a_causal_mask_hides_the_future(length: int) -> None:
    transformer, x, real = make_transformer(), embeddings(2, length), torch.ones(2, length)
    before = causal(transformer, x, real)
    changed = x.clone()
    changed[:, 7] = embeddings(2, seed=2)
    after = causal(transformer, changed, real)
    torch.testing.assert_close(after[:, :7], before[:, :7], atol=1e-6, rtol=0)
    assert ((after[:, 7:] - before[:, 7:]).abs().amax(-1) > 1e-4).all()


def test_a_bidirectional_mask_hides_padding_only() -> None:
    transformer, x = make_transformer(), embeddings(1, 8)
    real = torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]])
    positions, mask = positions_from_mask(real), bidirectional_mask(real)
    before = transformer(x, positions, mask)
    for token, seen in ((4, True), (6, False)):
        changed = x.clone()
        changed[:, token] = embeddings(1, seed=2)
        difference = (transformer(changed, positions, mask) - before)[:, :4].abs().amax()
        assert (difference > 1e-4) == seen


@pytest.mark.parametrize("make_mask", [causal_mask, bidirectional_mask])
@pytest.mark.parametrize("length", [9, 140])
def test_padded_rows_give_no_nan(make_mask: object, length: int) -> None:
    transformer, x = make_transformer(), embeddings(3, length).requires_grad_()
    real = torch.ones(3, length)
    real[0, 4:], real[1, :4], real[2] = 0, 0, 0
    y = transformer(x, positions_from_mask(real), make_mask(real))  # type: ignore[operator]
    assert y.isfinite().all()
    (y * embeddings(3, length, seed=2) * real[..., None]).sum().backward()
    assert x.grad is not None
    assert all(p.grad.isfinite().all() for p in transformer.parameters())
    assert x.grad.isfinite().all()
    assert (x.grad[0, :4] != 0).all()
    assert (x.grad[2] == 0).all()


@pytest.mark.parametrize("left", [0, 1, 5])
@pytest.mark.parametrize("right", [0, 3])
def test_padding_changes_nothing(left: int, right: int) -> None:
    transformer, x = make_transformer(), embeddings(2, 6)
    padded = torch.cat((embeddings(2, left, seed=2), x, embeddings(2, right, seed=3)), dim=1)
    real = torch.zeros(2, left + 6 + right)
    real[:, left : left + 6] = 1
    for make_mask in (causal_mask, bidirectional_mask):
        expected = transformer(x, torch.arange(6)[None], make_mask(torch.ones(2, 6)))
        found = transformer(padded, positions_from_mask(real), make_mask(real))
        torch.testing.assert_close(found[:, left : left + 6], expected, atol=1e-5, rtol=0)


def test_the_order_of_storage_does_not_count_only_the_positions_do() -> None:
    transformer, x, order = make_transformer(), embeddings(1, 6), torch.tensor([3, 0, 5, 1, 4, 2])
    expected = transformer(x, torch.arange(6)[None])
    found = transformer(x[:, order], order[None])
    torch.testing.assert_close(found, expected[:, order], atol=1e-5, rtol=0)
    assert not torch.allclose(transformer(x[:, order], torch.arange(6)[None]), found, atol=1e-2)


KEPT = [0, 1, 4, 11, 40, torch.tensor([[3, 0, 10], [9, 9, 1]]), torch.zeros(2, 0, dtype=torch.int64)]


@pytest.mark.parametrize("keep", KEPT, ids=str)
@pytest.mark.parametrize("conditioned", [False, True])
def test_only_the_kept_positions_are_the_same_as_those_of_all(keep: int | Tensor, conditioned: bool) -> None:
    transformer = make_transformer(conditioning_dim=5 if conditioned else None)
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if "modulation" in name:
                weight.normal_()
    x, real = embeddings(2, 11), torch.ones(2, 11, dtype=torch.bool)
    real[1, :3] = False
    conditioning = torch.tensor([[1.0, 2, 3, 4, 5], [0, 1, 0, 1, 0]]) if conditioned else None
    for mask in (causal_mask(real), bidirectional_mask(real)):
        rest = (positions_from_mask(real), mask, None, conditioning)
        everything = transformer(x, *rest)
        torch.testing.assert_close(
            transformer(x, *rest, keep=keep), keep_positions(everything, keep), atol=1e-5, rtol=0
        )
    # Positions and masks that are the same for all rows may come as one row.
    positions, mask = torch.arange(11)[None], torch.ones(1, 1, 11, 11, dtype=torch.bool)
    everything = transformer(x, positions, mask, None, conditioning)
    found = transformer(x, positions, mask, None, conditioning, keep=keep)
    torch.testing.assert_close(found, keep_positions(everything, keep), atol=1e-5, rtol=0)


def test_the_cache_takes_in_positions_that_are_not_kept() -> None:
    transformer, x, real = make_transformer(), embeddings(2, 9), torch.ones(2, 9, dtype=torch.bool)
    real[0, :2] = False
    expected = causal(transformer, x, real)[:, -1:]
    cache = transformer.make_cache(2, 9)
    with torch.no_grad():
        for part in (slice(0, 6), slice(6, 8), slice(8, 9)):
            positions, mask = cache.extend(real[:, part])
            found = transformer(x[:, part], positions, mask, cache=cache, keep=1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_initial_weights() -> None:
    torch.manual_seed(3)
    transformer = Transformer(d_model=256, num_layers=8, num_heads=4, d_ff=512)
    for block in transformer.blocks:
        for linear in (block.attention.qkv, block.mlp_up):
            assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
        for linear in (block.attention.out, block.mlp_down):
            assert linear.weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.05)
        assert not block.mlp_up.bias.any()
        assert not block.mlp_down.bias.any()
    assert transformer.final_norm.eps == 1e-5


def test_init_weights_of_a_whole_model_keeps_what_is_special() -> None:
    torch.manual_seed(4)
    model = nn.ModuleDict(
        {
            "embedding": nn.Embedding(500, 64, padding_idx=0),
            "body": Transformer(64, 2, 2, 128, conditioning_dim=16),
            "head": nn.Linear(64, 500, bias=False),
        }
    )
    init_weights(model, embedding_std=1.0)
    assert not model["embedding"].weight[0].any()
    assert model["embedding"].weight[1:].std().item() == pytest.approx(1.0, rel=0.05)
    assert model["head"].weight.std().item() == pytest.approx(0.02, rel=0.05)
    for block in model["body"].blocks:
        assert block.mlp_down.weight.std().item() == pytest.approx(0.01, rel=0.05)
        for part in (block.attention_norm, block.attention_gate, block.mlp_gate):
            assert not part.modulation.weight.any()


def test_dropout_is_of_the_branches_and_off_in_evaluation() -> None:
    transformer, x = make_transformer(dropout=0.5), embeddings(1, 4)
    positions = torch.arange(4)[None]
    assert torch.equal(transformer(x, positions), transformer(x, positions))
    transformer.train()
    assert not torch.equal(transformer(x, positions), transformer(x, positions))


def test_mixed_precision_follows_float32() -> None:
    torch.manual_seed(5)
    transformer, x = Transformer(D, 2, 2, 64).eval(), embeddings(2, 10)
    positions, mask = torch.arange(10)[None], causal_mask(torch.ones(2, 10))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = transformer(x, positions, mask)
    torch.testing.assert_close(mixed.float(), transformer(x, positions, mask), atol=5e-2, rtol=0)


def test_compiles_without_a_graph_break() -> None:
    transformer, x, real = make_transformer(), embeddings(2, 5), torch.ones(2, 5)
    real[0, 3:] = 0
    compiled = torch.compile(causal, backend="aot_eager", fullgraph=True)
    found = compiled(transformer, x, real)
    torch.testing.assert_close(found, causal(transformer, x, real), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, r"model\.num_layers is 0; expected a whole number of at least 1"),
        ({"d_model": 0}, r"model\.d_model is 0; expected a whole number"),
        ({"d_ff": 0}, r"model\.d_ff is 0; expected a whole number"),
        ({"num_heads": 2.5}, r"model\.num_heads is 2\.5; expected a whole number"),
        ({"dropout": 1.0}, r"model\.dropout is 1\.0; expected a number in \[0, 1\)"),
        ({"dropout": -0.1}, r"model\.dropout is -0\.1; expected a number"),
        ({"num_heads": 5}, "num_heads=5"),
    ],
)
def test_sizes_that_make_no_transformer(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_transformer(**options)


@pytest.mark.parametrize("key", ["init_std", "embedding_std", "residual_std"])
def test_no_weights_are_drawn_from_a_negative_width(key: str) -> None:
    argument = {"init_std": "std"}.get(key, key)
    with pytest.raises(ConfigError, match=rf"model\.{key} is -1; expected a number"):
        init_weights(nn.Linear(2, 2), **{argument: -1})
