"""The Harness: what is trained, what is logged and when, what is evaluated, what is written."""

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
from xlm_runtime.metrics import LoaderKind
from xlm_runtime.predictions import read_rows


def fit(harness: Harness, datamodule: pl.LightningDataModule | None = None, **trainer: Any) -> tiny.Memory:
    """Train, and return what was logged."""
    memory = tiny.Memory()
    tiny.make_trainer(logger=memory, **trainer).fit(harness, datamodule=datamodule or tiny.make_datamodule())
    return memory


def snapshot(harness: Harness) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in harness.state_dict().items()}


def changed(harness: Harness, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in harness.state_dict().items() if not torch.equal(value, before[name])}


# -- training ----------------------------------------------------------------------------------------------


def test_training_minimises_what_loss_fn_returns() -> None:
    class Losses(pl.Callback):
        def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
            seen.append(loss)

    seen: list[Tensor] = []
    harness = tiny.make_harness()
    expected = harness.loss.loss_fn(tiny.collate(tiny.examples(4)))["loss"].item()
    fit(harness, max_steps=1, callbacks=[Losses()])
    assert seen[0].item() == expected
    assert seen[0].requires_grad


def test_a_step_of_sgd_is_the_gradient_of_the_loss() -> None:
    harness, by_hand = tiny.make_harness(), tiny.make_harness()
    by_hand.loss.loss_fn(tiny.collate(tiny.examples(4)))["loss"].backward()
    fit(harness, max_steps=1)
    for name, parameter in by_hand.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(harness.get_parameter(name), parameter - 0.1 * parameter.grad, msg=name)


def test_configure_is_called_once_before_the_first_step_in_training_and_in_testing() -> None:
    harness = tiny.make_harness()
    fit(harness, limit_val_batches=1, val_check_interval=1)
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
        before = snapshot(parts.harness)
        trainer.fit(parts.harness, datamodule=parts.datamodule)
        assert changed(parts.harness, before) == set(before)
        losses.append(seen)
    assert compiled_functions == ["ArlmLoss.loss_fn"]
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


# -- what is tracked ---------------------------------------------------------------------------------------


def test_tracked_scalars_are_means_since_the_last_log_at_log_steps() -> None:
    # Batches of 4 in their order: batch b holds the indices 4b ... 4b + 3, whose mean is 4b + 1.5.
    harness = tiny.make_harness(track=["loss", "mean_index"])
    datamodule = tiny.make_datamodule(dataset={"train": tiny.examples(28)})
    memory = fit(harness, datamodule, max_steps=7, log_every_n_steps=3)
    assert memory.values("train/mean_index") == [(2, 4 * 1 + 1.5), (5, 4 * 4 + 1.5)]
    assert [step for step, _ in memory.values("train/loss")] == [2, 5]
    assert {name for _, row in memory.rows for name in row} == {"train/loss", "train/mean_index", "train/lr"}


def test_a_tracked_mean_is_over_all_batches_that_were_accumulated() -> None:
    harness = tiny.make_harness(track=["mean_index"])
    datamodule = tiny.make_datamodule(dataset={"train": tiny.examples(32)})
    memory = fit(harness, datamodule, max_steps=4, log_every_n_steps=2, accumulate_grad_batches=2)
    assert memory.values("train/mean_index") == [(1, 4 * 1.5 + 1.5), (3, 4 * 5.5 + 1.5)]


def test_the_learning_rate_is_logged_and_follows_its_schedule_step_by_step() -> None:
    halving = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    memory = fit(tiny.make_harness(lr_scheduler=halving), max_steps=3)
    assert memory.values("train/lr") == [(step, pytest.approx(0.1 / 2**step)) for step in range(3)]


def test_tracking_what_the_loss_does_not_return_is_an_error() -> None:
    with pytest.raises(ContractError, match=r"'entropy'.*loss, num_tokens, mean_index"):
        fit(tiny.make_harness(track=["loss", "entropy"]))


# -- parts that are modules --------------------------------------------------------------------------------


def trainable_parts(**changes: Any) -> Harness:
    torch.manual_seed(0)
    model = tiny.Model()
    schedule = tiny.NoiseSchedule()
    loss = tiny.TrainableLoss(model)
    loss.noise_schedule = schedule
    predictor = tiny.TrainablePredictor(model)
    return tiny.make_harness(model=model, loss=loss, predictor=predictor, noise_schedule=schedule, **changes)


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
    harness = trainable_parts()
    assert set(harness.state_dict()) == PARTS
    assert {name for name, _ in harness.named_parameters(remove_duplicate=False)} == PARTS
    optimizer = harness.configure_optimizers()
    optimised = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(optimised) == sorted(id(p) for p in harness.parameters())
    assert len(set(optimised)) == len(PARTS)


def test_parts_still_hold_one_another_and_move_together() -> None:
    harness = trainable_parts().to(torch.float64)
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
    harness = trainable_parts(optimizer_groups={"model": {"lr": 0.0}, "loss": {"lr": 0.5}}, track=["loss", "weight"])
    critic = harness.loss.critic
    value = (critic.weight + critic.bias).item()
    nll = tiny.cross_entropy(harness.model, tiny.collate(tiny.examples(4)))["loss"].item()
    before = snapshot(harness)
    memory = fit(harness, max_steps=1)
    # loss = nll (v^2 + 1) with v = weight + bias: the gradient of both is 2 v nll.
    assert changed(harness, before) == {"loss.critic.weight", "loss.critic.bias"}
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
    before = snapshot(parts.harness)
    tiny.make_trainer(max_steps=1).fit(parts.harness, datamodule=parts.datamodule)
    assert changed(parts.harness, before) == {"model.head.weight"}


# -- evaluation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [3, 8, 100])
def test_metrics_of_each_kind_do_not_depend_on_the_batch_size(batch: int) -> None:
    harness = tiny.make_harness()
    trainer = tiny.make_trainer(limit_val_batches=1.0)
    trainer.validate(harness, datamodule=tiny.make_datamodule(eval_batch_size=batch), verbose=False)
    with torch.no_grad():
        exact = tiny.cross_entropy(harness.model, tiny.collate(tiny.examples(10)))["loss"].item()
    assert {name: float(value) for name, value in trainer.callback_metrics.items()} == {
        "val/loss": pytest.approx(exact, abs=1e-6),
        "val/right": pytest.approx(4 / 10),  # the indices 0, 3, 6 and 9
    }


def test_test_metrics_bear_the_name_of_the_split_that_is_read() -> None:
    trainer = tiny.make_trainer()
    trainer.test(tiny.make_harness(), datamodule=tiny.make_datamodule(), verbose=False)
    assert set(trainer.callback_metrics) == {"test/loss", "test/right"}
    assert float(trainer.callback_metrics["test/right"]) == pytest.approx(3 / 7)
    harness = tiny.make_harness(metrics=tiny.metric_sets("val", "train"), eval_split="train")
    trainer = tiny.make_trainer()
    trainer.test(harness, datamodule=tiny.make_datamodule(eval_split="train"), verbose=False)
    assert set(trainer.callback_metrics) == {"train/loss", "train/right"}
    assert float(trainer.callback_metrics["train/right"]) == pytest.approx(6 / 16)


def test_each_validation_begins_anew() -> None:
    # The three batches of the first validation are all wrong, those of the second all right. The rate is 0, so that
    # the loss is one number.
    class Later(tiny.Predictor):
        calls = 0

        def predict(self, batch: Any) -> dict[str, Tensor]:
            Later.calls += 1
            return {"right": torch.full_like(batch["index"], Later.calls > 3, dtype=torch.bool)}

    harness = tiny.make_harness(predictor=Later(tiny.Model()), optimizer=functools.partial(torch.optim.SGD, lr=0.0))
    memory = fit(harness, max_steps=2, limit_val_batches=1.0, val_check_interval=1)
    assert memory.values("val/right") == [(0, 0.0), (1, 1.0)]
    assert len({value for _, value in memory.values("val/loss")}) == 1


def test_a_model_without_predictor_is_evaluated_by_its_loss_alone() -> None:
    harness = tiny.make_harness(
        predictor=None,
        eval_kinds=[LoaderKind.LM],
        metrics={key: value for key, value in tiny.metric_sets("val").items() if key[1] is LoaderKind.LM},
    )
    trainer = tiny.make_trainer(limit_val_batches=1.0)
    trainer.validate(harness, datamodule=tiny.make_datamodule(collators={"lm": tiny.collate}), verbose=False)
    assert set(trainer.callback_metrics) == {"val/loss"}


def test_evaluation_leaves_no_gradient_and_no_change() -> None:
    harness = trainable_parts()
    before = snapshot(harness)
    tiny.make_trainer(limit_val_batches=1.0).validate(harness, datamodule=tiny.make_datamodule(), verbose=False)
    assert not changed(harness, before)
    assert all(p.grad is None for p in harness.parameters())


# -- prediction rows ---------------------------------------------------------------------------------------


def test_each_validation_writes_its_rows_once_under_its_step(tmp_path: Path) -> None:
    fit(tiny.make_harness(run_dir=tmp_path), max_steps=4, limit_val_batches=1.0, val_check_interval=2)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["predictions/val/step=2.jsonl", "predictions/val/step=4.jsonl"]
    for file in files:
        rows = read_rows(tmp_path / file)
        assert [row["index"] for row in rows] == list(range(10))
        assert [row["text"] == "yes" for row in rows] == [i % 3 == 0 for i in range(10)]


def test_rows_of_loaded_weights_bear_the_step_of_those_weights(tmp_path: Path) -> None:
    harness = tiny.make_harness(run_dir=tmp_path)
    harness.trained_steps = 120
    tiny.make_trainer().test(harness, datamodule=tiny.make_datamodule(), verbose=False)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jsonl")] == [
        "predictions/test/step=120.jsonl"
    ]


def test_a_fast_dev_run_writes_no_rows(tmp_path: Path) -> None:
    harness = tiny.make_harness(run_dir=tmp_path)
    fit(harness, fast_dev_run=True, limit_val_batches=1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_sanity_check_before_training_writes_no_rows(tmp_path: Path) -> None:
    fit(tiny.make_harness(run_dir=tmp_path), max_steps=1, limit_val_batches=1.0, num_sanity_val_steps=1)
    assert list(tmp_path.iterdir()) == []


def test_predicting_returns_every_row_and_logs_nothing() -> None:
    trainer = tiny.make_trainer()
    batches = trainer.predict(tiny.make_harness(), datamodule=tiny.make_datamodule())
    assert batches is not None
    assert [row["index"] for batch in batches for row in batch] == list(range(7))
    assert trainer.callback_metrics == {}
