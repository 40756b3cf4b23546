"""A callback that writes down when the first step was finished; given to ``xlm`` on its command line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl


class FirstStep(pl.Callback):
    """Writes the time of day, in seconds, into ``file``."""

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_batch_end(self, *args: Any) -> None:
        if not self.file.exists():
            self.file.write_text(str(time.time()), encoding="utf-8")
