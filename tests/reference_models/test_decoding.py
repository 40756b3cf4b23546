"""Every way to decode, by every reference model, writes words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from small_models import built, predict

BY_RULE = [
    "method=random",
    *(
        f"method={rule} confidence={measure}"
        for rule in ("confidence", "threshold")
        for measure in ("margin", "entropy")
    ),
    "method=confidence confidence=top_prob confidence_noise=1.0",
    "method=threshold gamma=2.0 steps=3",
    "method=confidence temperature=0.7 steps=32",
    "method=random steps=4 block_size=4 temperature=1.0 top_k=3",
    "method=confidence block_size=5 top_p=0.5 temperature=1.0",
]
DECODED: dict[str, Sequence[str]] = {
    "arlm": ["temperature=0.0", "temperature=0.7 top_k=5", "top_p=0.9 temperature=1.5", "use_cache=false"],
    "mlm": BY_RULE,
    "ilm": [
        "method=joint",
        "method=joint temperature=0.7 top_k=40 top_p=0.9",
        "method=slot_first temperature=1.0 slot_temperature=0.0",
        "method=slot_first slot_temperature=1.0 slot_top_k=2 slot_top_p=0.9 top_k=3",
        "method=threshold gamma=0.3",
        "stop_threshold=1.0 max_new_tokens=4",
    ],
    "mdlm": [
        *BY_RULE,
        "method=ddpm",
        "method=ddpm steps=5 temperature=0.5 top_p=0.9",
        "method=ddpm_cache steps=40 block_size=4",
        "method=first_hitting",
        "method=first_hitting block_size=4",
    ],
}


@pytest.mark.parametrize(("model", "options"), [(m, options) for m in DECODED for options in DECODED[m]])
def test_every_way_to_decode_writes_words(cache: Path, model: str, options: str) -> None:
    """An untrained network, whatever it writes; twice the same; and no mask is left, no special token but the last."""
    parts = built(model, cache, *(f"predictor.{word}" for word in options.split(" ")))
    rows = predict(parts)
    assert rows == predict(parts)
    allowed = {parts.tokenizer.eos_token_id, parts.tokenizer.pad_token_id}
    for row in rows:
        assert row["ids"]
        assert not set(row["ids"]) & (set(parts.tokenizer.all_special_ids) - allowed)
