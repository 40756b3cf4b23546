"""The log-linear schedule: its identities, and the values that keep it finite."""

from __future__ import annotations

import pytest
import torch

from xlm_runtime.build import make
from xlm_runtime.config import compose
from xlm_runtime.errors import ConfigError
from xlm_runtime.noise import LogLinearNoise

T = torch.linspace(1e-3, 1, 50, dtype=torch.float64)


@pytest.mark.parametrize("eps", [1e-3, 0.2])
def test_the_mask_probability_is_that_of_the_total_noise(eps: float) -> None:
    """Catches an ε at the wrong end: time 0 masks nothing, time 1 all but ε."""
    noise = LogLinearNoise(eps)
    assert torch.allclose(noise.mask_probability(T), 1 - torch.exp(-noise.sigma(T)), atol=1e-12)
    ends = noise.mask_probability(torch.tensor([0.0, 1.0]))
    assert ends.tolist() == pytest.approx([0, 1 - eps])


@pytest.mark.parametrize("eps", [1e-3, 0.2])
def test_the_rate_is_the_derivative_of_the_total_noise(eps: float) -> None:
    t = T.clone().requires_grad_()
    (slope,) = torch.autograd.grad(LogLinearNoise(eps).sigma(t).sum(), t)
    assert torch.allclose(LogLinearNoise(eps).rate(T), slope)


@pytest.mark.parametrize("eps", [1e-3, 0.2])
def test_the_weight_is_one_over_t(eps: float) -> None:
    """σ′ / (exp σ − 1), whatever ε. Catches the weight without its − 1."""
    noise = LogLinearNoise(eps)
    assert torch.allclose(noise.weight(T), noise.rate(T) / torch.expm1(noise.sigma(T)))


def test_shape_and_dtype_are_those_of_t() -> None:
    t = torch.rand(2, 3)
    for method in ("sigma", "rate", "mask_probability", "weight"):
        found = getattr(LogLinearNoise(), method)(t)
        assert found.shape == t.shape and found.dtype == t.dtype
    assert LogLinearNoise().sigma(torch.ones(1)).isfinite().all()


@pytest.mark.parametrize("eps", [0.0, 1.0, -0.1])
def test_an_eps_out_of_range_is_refused(eps: float) -> None:
    with pytest.raises(ConfigError, match=r"noise_schedule\.eps"):
        LogLinearNoise(eps)


def test_the_config_group_makes_it() -> None:
    noise = make(compose(["noise_schedule=log_linear", "noise_schedule.eps=0.01"]), "noise_schedule")
    assert isinstance(noise, LogLinearNoise) and noise.eps == 0.01
