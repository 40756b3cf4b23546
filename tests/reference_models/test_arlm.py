"""ARLM: rows, metrics, and what the configuration makes."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from arlm.metrics_arlm import exact_match, token_accuracy
from arlm.predictor_arlm import ArlmPredictor
from arlm_untrained import (
    EOS,
    PAD,
    TOKENIZER,
    WORDS,
    prompts,
    watched,
)
from torch import nn

from xlm_runtime.build import build_parts, build_trainer
from xlm_runtime.config import compose


def test_rows_say_prompt_prediction_and_truth_in_words() -> None:
    a, b, c = TOKENIZER.convert_tokens_to_ids(["3", "14", "7"])
    known = {"index": 0, "prompt_ids": [a, b], "token_ids": [c, a]}
    batch = prompts([known, {"index": 1, "prompt_ids": [c]}])
    ids = torch.tensor([[c, b, EOS, PAD], [a, a, a, a]])
    predictor = ArlmPredictor(watched(), TOKENIZER, max_new_tokens=4)
    assert predictor.to_dict(batch, {"ids": ids}) == [
        {"prompt": "3 14", "text": "7 14", "truth": "7 3", "ids": [c, b, EOS], "network_calls": 3},
        {"prompt": "7", "text": "3 3 3 3", "truth": None, "ids": [a, a, a, a], "network_calls": 4},
    ]


def test_metrics_count_an_answer_to_its_end() -> None:
    a, b, c = WORDS[:3]
    batch = prompts([{"index": i, "prompt_ids": [a], "token_ids": [a, b]} for i in range(6)])  # truth: a b EOS
    ids = torch.tensor(
        [
            [a, b, EOS, PAD],
            [a, b, c, EOS],  # goes on
            [a, EOS, PAD, PAD],  # ends too early
            [c, b, EOS, PAD],
            [a, b, EOS, c],  # something after the end
            [EOS, PAD, PAD, PAD],
        ]
    )
    for width in (4, 20):  # narrower and wider than the answer block
        preds = {"ids": nn.functional.pad(ids, (0, width - 4), value=PAD)}
        assert exact_match(batch, preds)["value"].tolist() == [1, 0, 0, 0, 0, 0]
        accuracy = token_accuracy(batch, preds)
        assert accuracy["value"].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 2 / 3, 1, 0])
        assert accuracy["weight"].tolist() == [3] * 6


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, float]]:
    """The validation metrics of one untrained model, for three batch sizes."""
    cache, found = tmp_path_factory.mktemp("cache"), {}
    for size in (3, 8, 10):
        cfg = compose(
            [
                "experiment=star_medium_arlm",  # prompts and answers of different lengths
                *("model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=64"),
                "dataset.sizes={train: 8, val: 10, test: 8}",
                f"eval_batch_size={size}",
                "trainer.accelerator=cpu",
                f"cache_dir={cache}",
            ]
        )
        pl.seed_everything(0, verbose=False)
        parts = build_parts(cfg)
        with torch.no_grad():
            parts.harness.model.head.weight.mul_(50)
        trainer = build_trainer(cfg, logger=False, callbacks=[], enable_checkpointing=False)
        trainer.validate(parts.harness, datamodule=parts.datamodule, verbose=False)
        found[size] = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return found


@pytest.mark.parametrize("size", [3, 8])
def test_validation_metrics_do_not_depend_on_the_batch_size(validated: dict[int, dict[str, float]], size: int) -> None:
    assert validated[size] == pytest.approx(validated[10], rel=1e-5)
    assert set(validated[size]) == {"val/loss", "val/perplexity", "val/exact_match", "val/token_accuracy"}


def test_perplexity_is_the_exponential_of_the_loss(validated: dict[int, dict[str, float]]) -> None:
    for metrics in validated.values():
        assert metrics["val/perplexity"] == pytest.approx(torch.tensor(metrics["val/loss"]).exp().item(), rel=1e-5)


def test_the_predictor_of_the_configuration_takes_its_options_from_it(tmp_path: Path) -> None:
    cfg = compose(
        [
            "experiment=star_easy_arlm",
            "dataset.sizes={train: 2, val: 2, test: 2}",
            "predictor.temperature=0.7",
            "predictor.top_k=5",
            "seed=9",
            f"cache_dir={tmp_path}",
        ]
    )
    predictor = build_parts(cfg).harness.predictor
    assert (predictor.sampling.temperature, predictor.sampling.top_k, predictor.seed) == (0.7, 5, 9)
    assert predictor.max_new_tokens == cfg.dataset.answer_length


def test_the_exact_match_does_not_depend_on_the_padding_token() -> None:
    """Catches a shorter prediction that is filled up with zeros where PAD is another id."""
    batch = {"target_ids": torch.tensor([[5, 3, 50, 50], [5, 6, 3, 50]])}
    batch["target_mask"] = batch["target_ids"] != 50
    preds = {"ids": torch.tensor([[5, 3], [5, 6]])}
    assert exact_match(batch, preds)["value"].tolist() == [1, 0]
    assert token_accuracy(batch, preds)["value"].tolist() == pytest.approx([1, 2 / 3])
