"""Every option of loss, predictor and collators reaches its part from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import built, options_of

#: Key, value, and where the part keeps it.
SAMPLING = [
    ("predictor.temperature", 0.7, "predictor.sampling.temperature"),
    ("predictor.top_k", 5, "predictor.sampling.top_k"),
    ("predictor.top_p", 0.9, "predictor.sampling.top_p"),
]
FILLING = [
    *SAMPLING,
    ("predictor.method", "random", "predictor.rule.name"),
    ("predictor.steps", 32, "predictor.steps"),
    ("predictor.confidence", "margin", "predictor.rule.measure"),
    ("predictor.confidence_noise", 0.5, "predictor.rule.noise"),
    ("predictor.gamma", 2, "predictor.rule.gamma"),
    ("predictor.block_size", 4, "predictor.block_size"),
]
REACHED: dict[str, list[tuple[str, Any, str]]] = {
    "arlm": [
        *SAMPLING,
        ("predictor.max_new_tokens", 3, "predictor.max_new_tokens"),
        ("predictor.use_cache", False, "predictor.use_cache"),
        ("predictor.compile", True, "predictor.compile"),
        ("predictor.seed", 7, "predictor.seed"),
        ("datamodule.collators.lm.score_prompt", True, "datamodule.collators.lm.score_prompt"),
    ],
    "mlm": [
        *FILLING,
        ("loss.inverse_count", True, "loss.inverse_count"),
        ("loss.loss_on_visible", True, "loss.loss_on_visible"),
    ],
    "ilm": [
        *SAMPLING,
        ("predictor.method", "slot_first", "predictor.method"),
        ("predictor.max_new_tokens", 3, "predictor.max_new_tokens"),
        ("predictor.stop_threshold", 0.5, "predictor.stop_threshold"),
        ("predictor.gamma", 0.25, "predictor.gamma"),
        ("predictor.slot_temperature", 2.0, "predictor.slot_sampling.temperature"),
        ("predictor.slot_top_k", 2, "predictor.slot_sampling.top_k"),
        ("predictor.slot_top_p", 0.5, "predictor.slot_sampling.top_p"),
        ("loss.stop_loss_weight", 0.001, "loss.stop_loss_weight"),
        ("loss.stop_class_weight", 0.9, "loss.class_weights"),
        ("model.max_positions", 64, "model.position_embedding.num_embeddings"),
        ("model.cached_prompt", True, "model.cached_prompt"),
        ("model.count_up_to", 9, "model.stop_head.2.out_features"),
    ],
    "mdlm": [
        *FILLING,
        ("predictor.method", "ddpm_cache", "predictor.method"),
        ("loss.eval_times", 3, "loss.eval_times"),
        ("noise_schedule.eps", 0.01, "loss.noise_schedule.eps"),
        ("model.time_conditioning", True, "model.transformer.conditioning_dim"),
    ],
}
#: What a part makes of a value, where it does not keep the value itself.
KEPT_AS = {
    "loss.stop_class_weight": [pytest.approx(0.9), pytest.approx(0.1)],
    "model.time_conditioning": 32,
    "model.count_up_to": 10,
}


@pytest.mark.parametrize(("model", "key", "value", "place"), [(m, *case) for m in REACHED for case in REACHED[m]])
def test_an_option_reaches_its_part(cache: Path, model: str, key: str, value: Any, place: str) -> None:
    further = ["predictor.method=slot_first"] if key.startswith("predictor.slot") else []
    parts = built(model, cache, f"{key}={str(value).lower()}", *further)
    found: Any = parts if place.startswith("datamodule") else parts.harness
    for name in place.split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    assert (found.tolist() if isinstance(found, torch.Tensor) else found) == KEPT_AS.get(key, value)


#: Of loss and predictor, those that the seeds' own tests look at.
SEEDS = {"loss.seed", "predictor.seed"}


@pytest.mark.parametrize("model", REACHED)
def test_no_option_is_forgotten(model: str) -> None:
    """Each key of loss and predictor in the model's file of options is tried above."""
    assert options_of(model) <= {key for key, _, _ in REACHED[model]} | SEEDS
