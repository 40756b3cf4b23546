"""The runtime of external language models.

Importing this package is free: torch and Lightning are loaded when a name that needs them is first used.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

__all__ = [
    "Collator",
    "CollatorPrediction",
    "Harness",
    "InfillingCollatorPrediction",
    "Likelihood",
    "LossFunction",
    "NoiseSchedule",
    "Predictor",
    "Seq2SeqCollator",
    "Seq2SeqCollatorPrediction",
    "ToTransformers",
    "XlmError",
    "__version__",
    "load",
]

__version__ = Path(__file__).with_name("VERSION").read_text(encoding="utf-8").strip()

_HOMES = {
    "Collator": "contracts",
    "CollatorPrediction": "contracts",
    "Harness": "harness",
    "InfillingCollatorPrediction": "contracts",
    "Likelihood": "contracts",
    "LossFunction": "contracts",
    "NoiseSchedule": "contracts",
    "Predictor": "contracts",
    "Seq2SeqCollator": "contracts",
    "Seq2SeqCollatorPrediction": "contracts",
    "ToTransformers": "contracts",
    "XlmError": "errors",
    "load": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
