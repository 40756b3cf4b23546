"""What can be computed of prediction rows alone, without the model that made them.

An evaluator takes rows and returns numbers by name::

    def f(rows: list[dict]) -> dict[str, float]: ...

A value may also be a ``xlm_runtime.report.intervals.Estimate``, which has an interval. A configuration names evaluators
by dotted path, ``evaluators=[my_model.evals.f]``, or as a node with ``_target_`` where one has settings. Those that
stand here import torch when they are called, not before.
"""

from __future__ import annotations

from xlm_runtime.evaluators.causal_lm import GenerativePerplexity
from xlm_runtime.evaluators.divergence import Mauve
from xlm_runtime.evaluators.texts import diversity, length

__all__ = ["GenerativePerplexity", "Mauve", "diversity", "length"]
