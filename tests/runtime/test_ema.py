"""The average of the weights: what it is, where it stands in, and that a continued run has the same."""

from __future__ import annotations

from pathlib import Path

import killed
import pytest
import tiny_parts as tiny
import torch
from test_resume import steps

from xlm_runtime import checkpoint
from xlm_runtime.callbacks.ema import Ema
from xlm_runtime.errors import ConfigError


def weight(module: torch.nn.Module) -> torch.Tensor:
    return next(module.parameters()).detach().clone()


class Watch(tiny.pl.Callback):
    """The weights after each step, and those of the last validation."""

    def __init__(self) -> None:
        self.trained: list[torch.Tensor] = []
        self.validated = torch.zeros(0)

    def on_train_start(self, trainer: tiny.pl.Trainer, pl_module: tiny.pl.LightningModule) -> None:
        self.trained.append(weight(pl_module))

    def on_train_batch_end(self, trainer: tiny.pl.Trainer, pl_module: tiny.pl.LightningModule, *args: object) -> None:
        self.trained.append(weight(pl_module))

    def on_validation_batch_end(
        self, trainer: tiny.pl.Trainer, pl_module: tiny.pl.LightningModule, *args: object
    ) -> None:
        self.validated = weight(pl_module)


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_validations_see_the_average_and_training_goes_on_without_it(decay: float) -> None:
    watch, plain = Watch(), Watch()
    settings = {"max_steps": 4, "limit_val_batches": 1.0, "val_check_interval": 4}
    tiny.make_trainer(callbacks=[Ema(decay), watch], **settings).fit(
        tiny.make_harness(), datamodule=tiny.make_datamodule()
    )
    tiny.make_trainer(callbacks=[plain], **settings).fit(tiny.make_harness(), datamodule=tiny.make_datamodule())
    average = watch.trained[0]
    for updates, trained in enumerate(watch.trained[1:]):
        d = min(decay, (1 + updates) / (10 + updates))
        average = d * average + (1 - d) * trained
    torch.testing.assert_close(watch.validated, average)
    assert not torch.equal(watch.validated, watch.trained[-1])
    assert all(torch.equal(one, other) for one, other in zip(watch.trained, plain.trained, strict=True))


def test_checkpoints_hold_the_average_and_what_training_goes_on_with(cache: Path, tmp_path: Path) -> None:
    steps(cache, tmp_path / "whole", 8, "ema_decay=0.9", "model.dropout=0.1")
    for count in (3, 5, 8):
        steps(cache, tmp_path / "parts", count, "ema_decay=0.9", "model.dropout=0.1")
    assert killed.compare(tmp_path / "whole", tmp_path / "parts") == []
    steps(cache, tmp_path / "plain", 8, "model.dropout=0.1")
    averaged, plain = (checkpoint.read(tmp_path / f"{name}/checkpoints/last.ckpt") for name in ("whole", "plain"))
    assert killed.differences(averaged["xlm_ema"]["weights"], dict(plain["state_dict"])) == []
    assert killed.differences(dict(averaged["state_dict"]), dict(plain["state_dict"])) != []


def test_an_average_may_be_left_off_or_begun_in_a_continued_run(cache: Path, tmp_path: Path) -> None:
    steps(cache, tmp_path / "off", 4, "ema_decay=0.9")
    steps(cache, tmp_path / "off", 8)
    steps(cache, tmp_path / "plain", 8)
    off, plain = (checkpoint.read(tmp_path / f"{name}/checkpoints/last.ckpt") for name in ("off", "plain"))
    assert killed.differences(dict(off["state_dict"]), dict(plain["state_dict"])) == []
    steps(cache, tmp_path / "plain", 9, "ema_decay=0.9")
    assert checkpoint.read(tmp_path / "plain/checkpoints/last.ckpt")["xlm_ema"]["updates"] == 1


@pytest.mark.parametrize("decay", [0, 1, -0.5, "half"])
def test_a_decay_that_is_none(decay: object) -> None:
    with pytest.raises(ConfigError, match="ema_decay"):
        Ema(decay)  # type: ignore[arg-type]
