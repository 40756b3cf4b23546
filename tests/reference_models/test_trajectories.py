"""What the reference models tell a recorder: the steps end at the text, and telling changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from xlm_runtime.build import Parts, build_parts
from xlm_runtime.config import compose
from xlm_runtime.metrics import LoaderKind
from xlm_runtime.tracing import Trajectory, record

SMALL = (
    *("model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=64"),
    *("dataset.sizes={train: 4, val: 4, test: 6}", "trainer.accelerator=cpu"),
)
CASES = {
    "arlm": [(), ("predictor.use_cache=false", "predictor.temperature=1")],
    "mlm": [(), ("predictor.method=random", "predictor.steps=3"), ("predictor.method=threshold",)],
    "ilm": [
        ("predictor.max_new_tokens=9", "predictor.stop_threshold=1"),
        ("predictor.method=slot_first", "predictor.temperature=1", "predictor.stop_threshold=1"),
        ("predictor.method=threshold", "predictor.gamma=0.99", "predictor.stop_threshold=1"),
    ],
    "mdlm": [(), ("predictor.method=ddpm", "predictor.steps=8"), ("predictor.method=ddpm_cache", "predictor.steps=8")],
}


def built(model: str, cache: Path, words: tuple[str, ...]) -> tuple[Parts, Any]:
    torch.manual_seed(0)
    parts = build_parts(compose([f"experiment=star_easy_{model}", *SMALL, f"cache_dir={cache}", *words]))
    parts.harness.eval()
    dataset = parts.datamodule.dataset["test"]
    return parts, parts.datamodule.collators[LoaderKind.PREDICTION]([dataset[i] for i in range(6)])


@pytest.mark.parametrize(("model", "words"), [(model, words) for model, cases in CASES.items() for words in cases])
def test_the_steps_lead_from_what_is_given_to_the_text(model: str, words: tuple[str, ...], cache: Path) -> None:
    parts, batch = built(model, cache, words)
    predictor, tokenizer = parts.harness.predictor, parts.tokenizer
    plain = predictor.predict(batch)
    recorder = record(predictor, 4)
    traced = predictor.predict(batch)
    assert all(torch.equal(traced[name], plain[name]) for name in plain)
    assert len(recorder.trajectories) == 4
    given = [row[mask].tolist() for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    for trajectory, start, ids in zip(recorder.trajectories, given, traced["ids"].tolist(), strict=False):
        assert trajectory.start == start
        numbers = [step.number for step in trajectory.steps]
        assert numbers and numbers == sorted(set(numbers))
        assert all(0 <= sure <= 1.00001 for step in trajectory.steps for _, _, sure in step.changes)
        written = _made(model, trajectory, tokenizer)
        end = ids.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in ids else len(ids)
        expected = ids[:end] if model != "ilm" else [token for token in ids if token != tokenizer.pad_token_id]
        assert written[: len(expected)] == [token for token in expected if model != "arlm" or token != 0]


def _made(model: str, trajectory: Trajectory, tokenizer: Any) -> list[int]:
    """The tokens behind what was given."""
    tokens = trajectory.tokens()
    if model == "ilm":
        return tokens[tokens.index(tokenizer.bos_token_id) + 1 :]
    if model == "arlm":
        return tokens[len(trajectory.start) :]
    return tokens[trajectory.start.index(tokenizer.mask_token_id) :]


def test_confidence_is_certainty_where_nothing_is_left_to_choose(cache: Path) -> None:
    """ARLM's confidence is the softmax of the step's logits, special tokens left out."""
    parts, batch = built("arlm", cache, ())
    predictor = parts.harness.predictor
    recorder = record(predictor, 1)
    predictor.predict(batch)
    logits = predictor.model(batch["input_ids"], batch["attention_mask"])[0, -1].detach()
    logits[predictor.never] = -torch.inf
    ((_, token, sure),) = recorder.trajectories[0].steps[0].changes
    assert token == int(logits.argmax()) and sure == pytest.approx(float(logits.softmax(-1).max()), rel=1e-4)
