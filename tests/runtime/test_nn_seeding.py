"""Random numbers by coordinates: reproducible, uniform, and independent along every coordinate."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xlm_runtime.nn import counter_uniforms, row_uniforms, stream_seed


def uniform_p_value(u: Tensor, bins: int = 100) -> float:
    counts = torch.bincount((u.flatten() * bins).long(), minlength=bins).double()
    expected = u.numel() / bins
    statistic = ((counts - expected) ** 2).sum() / expected
    freedom = torch.tensor((bins - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))


def correlation_z(a: Tensor, b: Tensor) -> float:
    """How many standard errors the correlation is from zero."""
    stacked = torch.stack((a.flatten(), b.flatten()))
    return float(torch.corrcoef(stacked)[0, 1].abs()) * math.sqrt(a.numel())


def test_the_numbers_are_known() -> None:
    """Computed with integers of Python, so that a change of the hash cannot pass unseen."""
    mask = (1 << 64) - 1

    def mix(x: int) -> int:
        x = (x + 0x9E3779B97F4A7C15) & mask
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    assert mix(0) == 0xE220A8397B1DCDAF  # the first output of SplitMix64 with the seed 0
    for seed in (0, 1, -1, 2**63 + 5, 12345):
        found = row_uniforms(seed, torch.tensor([0, 7, 2**40, -3]), 2, step=9)
        for i, row in enumerate((0, 7, 2**40, -3)):
            for position in range(2):
                state = mix(seed & mask)
                for word in (row & mask, 9, position):
                    state = mix(state ^ word)
                assert float(found[i, position]) == (state >> 11) * 2.0**-53


def test_uniform_in_zero_one() -> None:
    u = row_uniforms(3, torch.arange(2000), 50)
    assert u.shape == (2000, 50)
    assert u.dtype == torch.float64
    assert u.min() >= 0
    assert u.max() < 1
    assert u.unique().numel() == u.numel()
    assert uniform_p_value(u) > 1e-3
    assert float(u.mean()) == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / u.numel()))


@pytest.mark.parametrize("what", ["row", "position", "step", "seed"])
def test_neighbours_are_independent(what: str) -> None:
    rows = torch.arange(1000)
    u = row_uniforms(4, rows, 50)
    other = {
        "row": row_uniforms(4, rows + 1, 50),
        "position": row_uniforms(4, rows, 51)[:, 1:],
        "step": row_uniforms(4, rows, 50, step=1),
        "seed": row_uniforms(5, rows, 50),
    }[what]
    assert correlation_z(u, other) < 4
    joint = (u * 10).floor() * 10 + (other * 10).floor()  # 100 cells of the unit square
    assert uniform_p_value((joint + 0.5) / 100) > 1e-3


def test_a_row_does_not_depend_on_its_batch() -> None:
    rows = torch.tensor([5, 17, 2])
    u = row_uniforms(6, rows, 8, step=3)
    assert torch.equal(row_uniforms(6, rows.flip(0), 8, step=3), u.flip(0))
    assert torch.equal(row_uniforms(6, rows[1:2], 5, step=3), u[1:2, :5])


def test_coordinates_broadcast_and_their_order_counts() -> None:
    a, b = torch.arange(4)[:, None], torch.arange(5)
    u = counter_uniforms(7, a, 2, b)
    assert u.shape == (4, 5)
    assert float(u[3, 1]) == float(counter_uniforms(7, 3, 2, 1))
    assert float(counter_uniforms(7, 1, 2)) != float(counter_uniforms(7, 2, 1))
    assert torch.equal(u, counter_uniforms(7, a.int(), torch.tensor(2), b))


def test_single_precision_where_there_is_no_double() -> None:
    u = counter_uniforms(8, torch.arange(20_000), dtype=torch.float32)
    assert u.dtype == torch.float32
    assert u.max() < 1
    assert uniform_p_value(u) > 1e-3
    double = counter_uniforms(8, torch.arange(20_000))
    torch.testing.assert_close(u.double(), double, atol=1e-7, rtol=0)


def test_stream_seeds_differ_by_purpose_and_stay_the_same_for_ever() -> None:
    keys = [(1, "val"), (1, "test"), (2, "val"), (1, "val", 0), (1,)]
    seeds = [stream_seed(*key) for key in keys]
    assert len(set(seeds)) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert stream_seed(1, "val") == 888068308614497288
