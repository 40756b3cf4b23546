"""The Harness in training: what is trained, what is logged and when."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import tiny_parts as tiny
import torch
from torch import Tensor, nn

from xlm_runtime.build import build_parts, build_trainer
from xlm_runtime.errors import ConfigError, ContractError
from xlm_runtime.harness import Harness

# -- training ----------------------------------------------------------------------------------------------


def test_training_minimises_what_loss_fn_returns() -> None:
    class Losses(pl.Callback):
        def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
            seen.append(loss)

    seen: list[Tensor] = []
    harness = tiny.make_harness()
    expected = harness.loss.loss_fn(tiny.collate(tiny.examples(4)))["loss"].item()
    tiny.fit(harness, max_steps=1, callbacks=[Losses()])
    assert seen[0].item() == expected
    assert seen[0].requires_grad


def test_a_step_of_sgd_is_the_gradient_of_the_loss() -> None:
    harness, by_hand = tiny.make_harness(), tiny.make_harness()
    by_hand.loss.loss_fn(tiny.collate(tiny.examples(4)))["loss"].backward()
    tiny.fit(harness, max_steps=1)
    for name, parameter in by_hand.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(harness.get_parameter(name), parameter - 0.1 * parameter.grad, msg=name)


def test_configure_is_called_once_before_the_first_step_in_training_and_in_testing() -> None:
    harness = tiny.make_harness()
    tiny.fit(harness, limit_val_batches=1, val_check_interval=1)
    assert harness.loss.calls == ["configure on cpu", *["loss_fn"] * 4]
    harness.loss.calls.clear()
    tiny.make_trainer().test(harness, datamodule=tiny.make_datamodule(), verbose=False)
    assert harness.loss.calls == ["configure on cpu", "loss_fn", "loss_fn"]


def test_a_compiled_loss_is_the_same_and_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_and_tell(function: Any) -> Any:
        compiled_functions.append(function.__qualname__)
        return torch_compile(function, backend="aot_eager")  # traced as for any backend; C++ would take half a minute

    class Losses(pl.Callback):
        def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
            seen.append(loss.item())

    compiled_functions: list[str] = []
    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile_and_tell)
    losses = []
    for compiled in (False, True):
        seen: list[float] = []
        cfg = tiny.arlm_config(tmp_path, "trainer.max_steps=2", "lr_scheduler.num_warmup_steps=0", "seed=1")
        cfg.compile = compiled
        pl.seed_everything(1, verbose=False)
        parts = build_parts(cfg)
        trainer = build_trainer(cfg, logger=False, callbacks=[Losses()], enable_checkpointing=False)
        before = tiny.snapshot(parts.harness)
        trainer.fit(parts.harness, datamodule=parts.datamodule)
        assert tiny.changed(parts.harness, before) == set(before)
        losses.append(seen)
    assert compiled_functions == ["ArlmLoss.loss_fn"]
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


# -- what is tracked ---------------------------------------------------------------------------------------


def test_tracked_scalars_are_means_since_the_last_log_at_log_steps() -> None:
    # Batches of 4 in their order: batch b holds the indices 4b ... 4b + 3, whose mean is 4b + 1.5.
    harness = tiny.make_harness(track=["loss", "mean_index"])
    datamodule = tiny.make_datamodule(dataset={"train": tiny.examples(28)})
    memory = tiny.fit(harness, datamodule, max_steps=7, log_every_n_steps=3)
    assert memory.values("train/mean_index") == [(2, 4 * 1 + 1.5), (5, 4 * 4 + 1.5)]
    assert [step for step, _ in memory.values("train/loss")] == [2, 5]
    assert {name for _, row in memory.rows for name in row} == {"train/loss", "train/mean_index", "train/lr"}


def test_a_tracked_mean_is_over_all_batches_that_were_accumulated() -> None:
    harness = tiny.make_harness(track=["mean_index"])
    datamodule = tiny.make_datamodule(dataset={"train": tiny.examples(32)})
    memory = tiny.fit(harness, datamodule, max_steps=4, log_every_n_steps=2, accumulate_grad_batches=2)
    assert memory.values("train/mean_index") == [(1, 4 * 1.5 + 1.5), (3, 4 * 5.5 + 1.5)]


def test_the_learning_rate_is_logged_and_follows_its_schedule_step_by_step() -> None:
    halving = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    memory = tiny.fit(tiny.make_harness(lr_scheduler=halving), max_steps=3)
    assert memory.values("train/lr") == [(step, pytest.approx(0.1 / 2**step)) for step in range(3)]


def test_tracking_what_the_loss_does_not_return_is_an_error() -> None:
    with pytest.raises(ContractError, match=r"'entropy'.*loss, num_tokens, mean_index"):
        tiny.fit(tiny.make_harness(track=["loss", "entropy"]))


# -- parts that are modules --------------------------------------------------------------------------------


PARTS = {
    "model.embedding.weight",
    "model.head.weight",
    "model.head.bias",
    "loss.critic.weight",
    "loss.critic.bias",
    "predictor.temperature",
    "noise_schedule.rate",
}


def test_each_parameter_of_each_part_is_registered_saved_and_optimised_once() -> None:
    harness = tiny.trainable_parts()
    assert set(harness.state_dict()) == PARTS
    assert {name for name, _ in harness.named_parameters(remove_duplicate=False)} == PARTS
    optimizer = harness.configure_optimizers()
    optimised = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(optimised) == sorted(id(p) for p in harness.parameters())
    assert len(set(optimised)) == len(PARTS)


def test_parts_still_hold_one_another_and_move_together() -> None:
    harness = tiny.trainable_parts().to(torch.float64)
    assert harness.loss.model is harness.model
    assert harness.predictor.model is harness.model
    assert harness.loss.noise_schedule is harness.noise_schedule
    assert {p.dtype for p in harness.parameters()} == {torch.float64}
    assert harness.loss.critic.weight.dtype == torch.float64


def test_a_part_inside_a_part_of_a_part_is_not_owned_a_second_time() -> None:
    class Outer(nn.Module):
        def __init__(self, inner: tiny.TrainableLoss) -> None:
            super().__init__()
            self.inner = inner
            self.loss_fn, self.configure = inner.loss_fn, inner.configure

    model = tiny.Model()
    harness = tiny.make_harness(model=model, loss=Outer(tiny.TrainableLoss(model)))
    assert {name for name in harness.state_dict() if name.startswith("loss")} == {
        "loss.inner.critic.weight",
        "loss.inner.critic.bias",
    }
    assert harness.loss.inner.model is model


def test_a_network_in_the_loss_trains_at_its_own_rate() -> None:
    harness = tiny.trainable_parts(
        optimizer_groups={"model": {"lr": 0.0}, "loss": {"lr": 0.5}}, track=["loss", "weight"]
    )
    critic = harness.loss.critic
    value = (critic.weight + critic.bias).item()
    nll = tiny.cross_entropy(harness.model, tiny.collate(tiny.examples(4)))["loss"].item()
    before = tiny.snapshot(harness)
    memory = tiny.fit(harness, max_steps=1)
    # loss = nll (v^2 + 1) with v = weight + bias: the gradient of both is 2 v nll.
    assert tiny.changed(harness, before) == {"loss.critic.weight", "loss.critic.bias"}
    torch.testing.assert_close(critic.bias, before["loss.critic.bias"] - 0.5 * 2 * value * nll)
    assert memory.values("train/weight") == [(0, pytest.approx(value**2 + 1))]


def test_options_of_a_part_that_is_not_there_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"optimizer.groups names 'noise_schedule'.*are: model"):
        tiny.make_harness(optimizer_groups={"noise_schedule": {"lr": 1.0}}).configure_optimizers()


def test_a_model_without_trainable_parameters_is_an_error() -> None:
    model = tiny.Model().requires_grad_(False)
    with pytest.raises(ConfigError, match="no trainable parameters"):
        tiny.make_harness(model=model).configure_optimizers()


# -- subclasses --------------------------------------------------------------------------------------------


class DoubledLoss(Harness):
    """Overrides one step."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return 2 * super().training_step(batch, batch_idx)


class OwnOptimizer(Harness):
    """Overrides the optimizer."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.model.head.parameters(), lr=1.0)


def test_harness_target_names_a_subclass_that_overrides_a_step(tmp_path: Path) -> None:
    class Losses(pl.Callback):
        def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
            seen.append(loss.item())

    seen: list[float] = []
    for target in ("xlm_runtime.harness.Harness", "test_harness.DoubledLoss"):
        pl.seed_everything(0, verbose=False)
        parts = build_parts(tiny.arlm_config(tmp_path, f"harness._target_={target}"))
        tiny.make_trainer(max_steps=1, callbacks=[Losses()]).fit(parts.harness, datamodule=parts.datamodule)
    assert seen[1] == 2 * seen[0]


def test_harness_target_names_a_subclass_that_overrides_the_optimizer(tmp_path: Path) -> None:
    parts = build_parts(tiny.arlm_config(tmp_path, "harness._target_=test_harness.OwnOptimizer"))
    before = tiny.snapshot(parts.harness)
    tiny.make_trainer(max_steps=1).fit(parts.harness, datamodule=parts.datamodule)
    assert tiny.changed(parts.harness, before) == {"model.head.weight"}
