"""A callback that writes down when the first step was finished; given to ``xlm`` on its command line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl


class FirstStep(pl.Callback):
    """Writes the time of day, and the processor time of this process so far, into ``file``."""

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_batch_end(self, *args: Any) -> None:
        if not self.file.exists():
            self.file.write_text(json.dumps([time.time(), time.process_time()]), encoding="utf-8")
