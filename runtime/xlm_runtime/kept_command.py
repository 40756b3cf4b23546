"""The command that trained a model, in its checkpoint and in what is exported of it: others can train it again.

Of a continued run, a checkpoint keeps the words of the last command.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from xlm_runtime import checkpoint, exported

KEY = "xlm_command"


def command_of(path: Path) -> list[str]:
    """The words that a checkpoint or exported folder keeps; none where it was made before they were kept."""
    if not exported.is_exported(path):
        return _words(checkpoint.read(path).get(KEY))
    with suppress(ValueError):  # of a folder from elsewhere, which may hold anything
        return _words(json.loads(exported.metadata(path).get(KEY, "[]")))
    return []


def _words(kept: Any) -> list[str]:
    return [str(word) for word in kept] if isinstance(kept, list) else []


def as_metadata(words: Sequence[str]) -> dict[str, str]:
    """The same for the metadata of an exported model."""
    return {KEY: json.dumps(list(words))} if words else {}
