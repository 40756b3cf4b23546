"""What the examples are made of, in the checkpoint: files may change under a run, and nothing else would say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xlm_runtime.datasets import Identified

KEY = "xlm_data"


def content_of(dataset: Any) -> str | None:
    """What identifies the dataset's content, for a checkpoint to keep; None where nothing does."""
    return dataset.content_id() if isinstance(dataset, Identified) else None


def changed_data(dataset: Any, contents: Mapping[str, Any]) -> str:
    """A line, if the dataset is of another content than that of a checkpoint to be continued; else nothing."""
    if KEY not in contents or not isinstance(dataset, Identified) or dataset.content_id() == contents[KEY]:
        return ""
    return "changed since the run began: the files that the dataset is made of (which, or their sizes or times)"
