"""What a command of the tests ends with, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REFERENCE_MODELS = Path(__file__).parents[2] / "reference-models"


@dataclass(frozen=True)
class Outcome:
    """What became of one command."""

    code: int
    out: str
    err: str

    def refused(self, *words: str) -> None:
        """It ended as bad input should: exit code 2, one message with these words, no traceback."""
        assert self.code == 2, self
        assert "Traceback" not in self.err and "Error executing" not in self.err, self.err
        assert self.err.startswith("Error: "), self.err
        missing = [word for word in words if word not in self.err]
        assert not missing, f"{missing} not in:\n{self.err}"

    def done(self) -> str:
        """It succeeded; its output."""
        assert self.code == 0, self.err
        return self.out


Run = Callable[..., Outcome]
