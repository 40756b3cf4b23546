"""Trajectories: how a predictor came to its texts, step by step.

A predictor that can be traced is ``Traceable``, and tells its recorder, where there is one, of each step::

    recorder = self.recorder                                     # None: nothing is recorded, nothing is computed
    if recorder is not None:
        recorder.begin(input_ids, attention_mask)                # at the start of each batch
    ...
        if recorder is not None:                                 # once a step
            recorder.append(rows, tokens, probability(logits, tokens))

A recorder is told of tokens that are written in place of others, inserted after others, or appended. Places are counted
from 0 over the tokens of a row as they stand before the step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from xlm_runtime.errors import ConfigError

#: place, token id, confidence in [0, 1]
Change = tuple[int, int, float]


@dataclass
class Step:
    """What one step changed in one row.

    Attributes:
        number: of the step, from 1; a row may sit some of them out.
        kind: "write": in place of what stood there; "insert": after what stands there, -1 for the very front.
        changes: at places as of before the step, each place once.
    """

    number: int
    kind: str
    changes: list[Change]


@dataclass
class Trajectory:
    """One row: the token ids that it began with, and what each step changed."""

    start: list[int]
    steps: list[Step] = field(default_factory=list)

    def tokens(self) -> list[int]:
        """The token ids after the last step."""
        tokens = list(self.start)
        for step in self.steps:
            for place, token, _ in sorted(step.changes, reverse=True):
                if step.kind == "write":
                    tokens[place] = token
                else:
                    tokens.insert(place + 1, token)
        return tokens


class Recorder:
    """Keeps the trajectories of the first rows that a predictor makes; it waits for the device at every step.

    Args:
        limit: how many rows; of later ones nothing is kept.

    Attributes:
        trajectories: those that have begun, in the order of the rows.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.trajectories: list[Trajectory] = []
        self._batch: list[Trajectory] = []  # of the rows of this batch that are recorded: its first ones
        self._lengths: list[int] = []
        self._number = 0

    def begin(self, ids: Tensor, real: Tensor) -> None:
        """A batch begins: ``ids`` (B, L) where ``real`` (B, L) is True."""
        room = max(0, self.limit - len(self.trajectories))
        self._batch = [
            Trajectory([token for token, there in zip(row, is_real, strict=True) if there])
            for row, is_real in zip(ids[:room].tolist(), real[:room].tolist(), strict=True)
        ]
        self._lengths = [len(trajectory.start) for trajectory in self._batch]
        self.trajectories += self._batch
        self._number = 0

    def write(
        self, rows: Tensor, places: Tensor, tokens: Tensor, confidence: Tensor, valid: Tensor | None = None
    ) -> None:
        """A step puts tokens in place of others.

        Args:
            rows: (m,) which rows of the batch.
            places, tokens: (m, K) int64.
            confidence: (m, K), the probabilities that the model gave these tokens.
            valid: (m, K) bool, which of them are meant; None: all.
        """
        self._step("write", rows, places, tokens, confidence, valid)

    def insert(
        self, rows: Tensor, places: Tensor, tokens: Tensor, confidence: Tensor, valid: Tensor | None = None
    ) -> None:
        """A step puts new tokens right after those at ``places``; arguments as of ``write``."""
        self._step("insert", rows, places, tokens, confidence, valid)

    def append(self, rows: Tensor, tokens: Tensor, confidence: Tensor) -> None:
        """A step puts one new token, ``tokens`` (m,), at the end of each of ``rows``."""
        if self._batch:
            last = [self._lengths[row] - 1 if row < len(self._batch) else 0 for row in rows.tolist()]
            self._step("insert", rows, rows.new_tensor(last)[:, None], tokens[:, None], confidence[:, None], None)

    def _step(
        self, kind: str, rows: Tensor, places: Tensor, tokens: Tensor, confidence: Tensor, valid: Tensor | None
    ) -> None:
        self._number += 1
        if not self._batch:
            return
        valid = places >= -1 if valid is None else valid
        columns = (part.tolist() for part in (rows, places, tokens, confidence, valid))
        for row, *values in zip(*columns, strict=True):
            if row >= len(self._batch):
                continue
            changes = [(at, token, sure) for at, token, sure, meant in zip(*values, strict=True) if meant]
            if changes:
                self._batch[row].steps.append(Step(self._number, kind, changes))
                self._lengths[row] += len(changes) * (kind == "insert")


class Traceable:
    """A predictor that tells ``recorder`` of its steps, if there is one; see the top of this file."""

    recorder: Recorder | None = None


def probability(logits: Tensor, tokens: Tensor) -> Tensor:
    """The softmax of logits (..., V), without temperature and filters, at tokens (...): (...) float32."""
    return logits.float().log_softmax(-1).gather(-1, tokens[..., None])[..., 0].exp()


def record(predictor: Any, rows: int) -> Recorder:
    """Let ``predictor`` record its first ``rows`` rows.

    Raises:
        ConfigError: it cannot be traced, or there is no row to record.
    """
    if not isinstance(predictor, Traceable):
        raise ConfigError(
            f"trace=true, but {type(predictor).__name__} cannot be traced. Expected a predictor that is "
            "xlm_runtime.tracing.Traceable and tells its recorder of each step; docs/trajectories.md says how. "
            "Without trace=true it generates as it is."
        )
    if rows < 1:
        raise ConfigError(f"trace=true, but show is {rows}: the rows that are shown are recorded. Set show=1 or more.")
    predictor.recorder = Recorder(rows)
    return predictor.recorder
