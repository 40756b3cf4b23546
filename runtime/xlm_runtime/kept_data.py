"""What the examples are made of, in the checkpoint: files may change under a run, and nothing else would say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl

from xlm_runtime.datasets import Identified

KEY = "xlm_data"


class KeepData(pl.Callback):
    """Puts what identifies the dataset's content into every checkpoint."""

    def __init__(self, dataset: Any) -> None:
        self._content = dataset.content_id() if isinstance(dataset, Identified) else None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._content is not None:
            checkpoint[KEY] = self._content


def changed_data(dataset: Any, contents: Mapping[str, Any]) -> str:
    """A line, if the dataset is of another content than that of a checkpoint to be continued; else nothing."""
    if KEY not in contents or not isinstance(dataset, Identified) or dataset.content_id() == contents[KEY]:
        return ""
    return "changed since the run began: the files that the dataset is made of (which, or their sizes or times)"
