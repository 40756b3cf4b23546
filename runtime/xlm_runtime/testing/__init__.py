"""Tests that every model repository inherits. Needs pytest (``pip install xlm-runtime[test]``)."""

from __future__ import annotations

from xlm_runtime.testing.contract import ModelContract
from xlm_runtime.testing.jobs import JobsContract

__all__ = ["JobsContract", "ModelContract"]
