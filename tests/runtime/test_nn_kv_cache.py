"""Decoding with a cache gives what the full forward pass gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xlm_runtime.errors import DataError
from xlm_runtime.nn import KVCache, Transformer, causal_mask, positions_from_mask

D, LENGTH = 32, 14
REAL = torch.ones(4, LENGTH)
for _row, _pads in enumerate((0, 2, 5, 3)):
    REAL[_row, :_pads] = 0


@pytest.fixture
def transformer() -> Transformer:
    torch.manual_seed(0)
    transformer = Transformer(D, 3, 2, 64).eval()
    with torch.no_grad():
        for block in transformer.blocks:
            block.attention.qkv.weight.mul_(10)
            block.attention.out.weight.mul_(30)
    return transformer


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, LENGTH, D, generator=torch.Generator().manual_seed(1))


def full(transformer: Transformer, x: Tensor, real: Tensor) -> Tensor:
    return transformer(x, positions_from_mask(real), causal_mask(real))


def step(transformer: Transformer, x: Tensor, real: Tensor, cache: KVCache) -> Tensor:
    positions, mask = cache.extend(real)
    return transformer(x, positions, mask, cache=cache)


@pytest.mark.parametrize("chunks", [[6, *[1] * 8], [14], [1] * 14, [6, 3, 5]])
def test_prefill_and_steps_equal_the_full_pass(
    transformer: Transformer,
    x: Tensor,
    chunks: list[int],
) -> None:
    cache = transformer.make_cache(4, LENGTH + 3)
    xs, reals = x.split(chunks, dim=1), REAL.split(chunks, dim=1)
    with torch.no_grad():
        found = [step(transformer, *chunk, cache) for chunk in zip(xs, reals, strict=True)]
        expected = full(transformer, x, REAL)
    assert cache.length == LENGTH
    real = REAL.bool()
    torch.testing.assert_close(torch.cat(found, 1)[real], expected[real], atol=1e-5, rtol=0)


def test_rows_that_are_done_leave_and_the_others_go_on(transformer: Transformer, x: Tensor) -> None:
    cache, rows = transformer.make_cache(4, LENGTH), torch.arange(4)
    expected = full(transformer, x, REAL)
    leave = {7: [True, False, True, True], 9: [False, True, True], 11: [True, False]}
    with torch.inference_mode():
        step(transformer, x[:, :6], REAL[:, :6], cache)
        for token in range(6, LENGTH):
            if token in leave:
                kept = torch.tensor(leave[token]).nonzero()[:, 0]
                cache.select(kept)
                rows = rows[kept]
            here = slice(token, token + 1)
            found = step(transformer, x[rows, here], REAL[rows, here], cache)
            torch.testing.assert_close(found, expected[rows, here], atol=1e-5, rtol=0)
    assert rows.tolist() == [2]
    assert cache.batch_size == 1
    assert cache.keys.shape[1] == cache.values.shape[1] == 1


def test_select_may_reorder_and_repeat(transformer: Transformer, x: Tensor) -> None:
    cache, rows = transformer.make_cache(4, LENGTH), torch.tensor([3, 0, 0])
    with torch.no_grad():
        step(transformer, x[:, :-1], REAL[:, :-1], cache)
        cache.select(rows)
        found = step(transformer, x[rows, -1:], REAL[rows, -1:], cache)
    expected = full(transformer, x, REAL)[rows, -1:]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_padding_inside_an_answer_is_not_attended(transformer: Transformer, x: Tensor) -> None:
    """A row may emit PAD while others go on; a later token of it sees none of the PADs."""
    real = REAL.clone()
    real[1, 8:11] = 0
    cache = transformer.make_cache(4, LENGTH)
    with torch.no_grad():
        for token in range(LENGTH):
            found = step(transformer, x[:, token : token + 1], real[:, token : token + 1], cache)
    torch.testing.assert_close(found, full(transformer, x, real)[:, -1:], atol=1e-5, rtol=0)
    assert torch.equal(cache.attended, real.bool())


def test_one_buffer_for_the_whole_run(transformer: Transformer, x: Tensor) -> None:
    cache = transformer.make_cache(4, LENGTH)
    keys, values = cache.keys.data_ptr(), cache.values.data_ptr()
    for token in range(3):  # with gradients on: none flows into the buffers
        step(transformer, x[:, token : token + 1], REAL[:, token : token + 1], cache)
    assert (cache.keys.data_ptr(), cache.values.data_ptr()) == (keys, values)
    assert not cache.keys.requires_grad
    assert cache.keys.shape == (3, 4, 2, LENGTH, D // 2)


def test_mixed_precision_decodes(transformer: Transformer, x: Tensor) -> None:
    expected = full(transformer, x, REAL)[:, -1:]
    for dtype in (None, torch.bfloat16):
        cache = transformer.make_cache(4, LENGTH, dtype=dtype)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            step(transformer, x[:, :-1], REAL[:, :-1], cache)
            found = step(transformer, x[:, -1:], REAL[:, -1:], cache)
        assert cache.keys.dtype == (dtype or torch.float32)
        torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0)


def test_what_does_not_fit_is_refused(transformer: Transformer, x: Tensor) -> None:
    cache = transformer.make_cache(4, 8)
    step(transformer, x[:, :6], REAL[:, :6], cache)
    with pytest.raises(DataError, match="holds 8 positions, 6 are filled, and 3 more do not fit"):
        cache.extend(REAL[:, :3])
    assert cache.length == 6


@pytest.mark.parametrize("fixed", [False, True])
def test_what_comes_after_a_cut_is_written_anew(transformer: Transformer, x: Tensor, fixed: bool) -> None:
    """Other tokens were there before, also where the new ones end; neither is seen. Catches a cut that leaves them."""
    cache = transformer.make_cache(4, LENGTH, fixed=fixed)
    with torch.no_grad():
        step(transformer, x[:, :6], REAL[:, :6], cache)
        step(transformer, 3 * x[:, :8], torch.ones(4, 8), cache)
        cache.truncate(6)
        assert cache.length == 6
        found = step(transformer, x[:, 6:10], REAL[:, 6:10], cache)
    expected = full(transformer, x[:, :10], REAL[:, :10])[:, 6:]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert cache.attended.sum() == REAL[:, :10].sum()


def test_a_cut_beyond_what_is_filled_is_refused(transformer: Transformer, x: Tensor) -> None:
    cache = transformer.make_cache(4, LENGTH)
    step(transformer, x[:, :6], REAL[:, :6], cache)
    for length in (7, -1):
        with pytest.raises(DataError, match=f"cut to {length} positions: 6 are filled"):
            cache.truncate(length)
    assert cache.length == 6
