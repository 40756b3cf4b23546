"""ARLM's compiled step, recorded as CUDA graphs, gives the tokens of the plain one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MODELS
from lightning.pytorch.utilities import move_data_to_device

from xlm_runtime import config, discovery
from xlm_runtime.build import build_parts


@pytest.mark.parametrize("words", [[], ["predictor.temperature=0.9", "predictor.top_p=0.9"]], ids=["greedy", "sampled"])
def test_the_tokens_are_those_of_the_plain_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XLM_MODELS_PATH", str(MODELS))
    monkeypatch.setenv("XLM_CACHE_DIR", str(tmp_path / "cache"))
    discovery.activate(discovery.discover().models)
    cfg = config.compose(["experiment=star_easy_arlm", "eval_batch_size=16", "predictor.max_new_tokens=40", *words])
    torch.manual_seed(0)
    parts = build_parts(cfg)
    parts.harness.eval().cuda()
    predictor: Any = parts.harness.predictor
    batches = iter(parts.datamodule.predict_dataloader()[0])
    for _ in range(3):  # compiled once, and in the same memory again
        batch = move_data_to_device(next(batches), torch.device("cuda"))
        predictor.compile = False
        plain = predictor.predict(batch)["ids"]
        predictor.compile = True
        compiled = predictor.predict(batch)["ids"].clone()
        assert (compiled != plain).sum() == 0
