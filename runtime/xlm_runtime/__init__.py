"""The runtime of external language models.

Importing this package is free: torch and Lightning are loaded when a name that needs them is first used.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

__all__ = [
    "Collator",
    "Harness",
    "LossFunction",
    "NoiseSchedule",
    "Predictor",
    "Seq2SeqCollator",
    "Seq2SeqCollatorPrediction",
    "XlmError",
    "__version__",
]

__version__ = Path(__file__).with_name("VERSION").read_text(encoding="utf-8").strip()

_HOMES = {
    "Collator": "contracts",
    "Harness": "harness",
    "LossFunction": "contracts",
    "NoiseSchedule": "contracts",
    "Predictor": "contracts",
    "Seq2SeqCollator": "contracts",
    "Seq2SeqCollatorPrediction": "contracts",
    "XlmError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
