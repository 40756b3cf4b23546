"""The Harness in evaluation: what is measured, and which rows are written."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import tiny_parts as tiny
import torch
from torch import Tensor

from xlm_runtime.metrics import LoaderKind
from xlm_runtime.predictions import read_rows


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
    memory = tiny.fit(harness, max_steps=2, limit_val_batches=1.0, val_check_interval=1)
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
    harness = tiny.trainable_parts()
    before = tiny.snapshot(harness)
    tiny.make_trainer(limit_val_batches=1.0).validate(harness, datamodule=tiny.make_datamodule(), verbose=False)
    assert not tiny.changed(harness, before)
    assert all(p.grad is None for p in harness.parameters())


# -- prediction rows ---------------------------------------------------------------------------------------


def test_each_validation_writes_its_rows_once_under_its_step(tmp_path: Path) -> None:
    tiny.fit(tiny.make_harness(run_dir=tmp_path), max_steps=4, limit_val_batches=1.0, val_check_interval=2)
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
    tiny.fit(harness, fast_dev_run=True, limit_val_batches=1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_sanity_check_before_training_writes_no_rows(tmp_path: Path) -> None:
    tiny.fit(tiny.make_harness(run_dir=tmp_path), max_steps=1, limit_val_batches=1.0, num_sanity_val_steps=1)
    assert list(tmp_path.iterdir()) == []


def test_predicting_returns_every_row_and_logs_nothing() -> None:
    trainer = tiny.make_trainer()
    batches = trainer.predict(tiny.make_harness(), datamodule=tiny.make_datamodule())
    assert batches is not None
    assert [row["index"] for batch in batches for row in batch] == list(range(7))
    assert trainer.callback_metrics == {}
