"""What the measurements share: a result, settings, fresh processes, and A/B timing side by side.

Machines are shared and noisy, so nothing is compared with a number of another hour: both sides run in turn
(A B, B A, A B, …) and the ratio is the median over the pairs. A burst of other work then spoils a pair or
two, and a slow hour slows both sides alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
BENCHMARKS = REPOSITORY / "tests" / "benchmarks"
MODELS = REPOSITORY / "reference-models"


@dataclass(frozen=True)
class Settings:
    """What the command line asks for.

    Attributes:
        quick: fewer repetitions, shorter work: to see that it runs, and roughly where it stands.
        threads: of torch on both sides; None leaves torch's own choice.
        work: an empty directory for whatever a measurement writes.
    """

    quick: bool
    threads: int | None
    work: Path

    def repeats(self, usual: int, quick: int) -> int:
        return quick if self.quick else usual


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes:
        name: what was measured.
        ours: the runtime's figure, as text with its unit.
        compared_with: what stood beside it in the same run, and its figure.
        ratio: ours over the other, as the row's words say; None where there is nothing to divide by.
        aim: in words; empty if none was set.
        met: whether the aim is met; None if none was set.
        prior: the prior system's figure, measured elsewhere.
        details: raw numbers, for the JSON only.
    """

    name: str
    ours: str
    compared_with: str = ""
    ratio: float | None = None
    aim: str = ""
    met: bool | None = None
    prior: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pairs:
    """Seconds of A and B, measured in turn; ``a[i]`` and ``b[i]`` were neighbours in time."""

    a: list[float]
    b: list[float]

    @property
    def median_a(self) -> float:
        return statistics.median(self.a)

    @property
    def median_b(self) -> float:
        return statistics.median(self.b)

    @property
    def ratios(self) -> list[float]:
        """a / b, pair by pair."""
        return [a / b for a, b in zip(self.a, self.b, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of a / b."""
        return statistics.median(self.ratios)

    def details(self) -> dict[str, Any]:
        """For the JSON: all seconds, and the ratio of the fastest of each side, which noise touches least."""
        return {"a_seconds": self.a, "b_seconds": self.b, "ratio_of_fastest": min(self.a) / min(self.b)}


def alternate(a: Callable[[], float], b: Callable[[], float], repeats: int) -> Pairs:
    """Call both ``repeats`` times in turn, each first in every other pair; both return seconds."""
    pairs = Pairs([], [])
    for repeat in range(repeats):
        sides = [(a, pairs.a), (b, pairs.b)]
        for call, seconds in sides if repeat % 2 == 0 else reversed(sides):
            seconds.append(call())
    return pairs


def seconds_of(function: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def environment(**changes: str) -> dict[str, str]:
    """The environment of a measured process: the reference models, the benchmarks' own modules, and byte code
    kept on disk, as any user has it (some machines switch that off, which makes every start slower).
    """
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "XLM_MODELS_PACKAGES")}
    return variables | {"XLM_MODELS_PATH": str(MODELS), "PYTHONPATH": str(BENCHMARKS)} | changes


def run(command: Sequence[str], cwd: Path, **variables: str) -> str:
    """Run a process to its end and return its output.

    Raises:
        RuntimeError: it failed; holds what it wrote last.
    """
    done = subprocess.run(command, cwd=cwd, env=environment(**variables), capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise RuntimeError(f"{' '.join(command[:4])} … ended with status {done.returncode}:\n{tail}")
    return done.stdout


def process_seconds(command: Sequence[str], cwd: Path, **variables: str) -> float:
    """The wall time of a whole process."""
    return seconds_of(lambda: run(command, cwd, **variables))


def program(name: str) -> str:
    """The path of a command of this environment, ``xlm`` for instance."""
    return str(Path(sys.executable).with_name(name))


def in_fresh_process(module: str, function: str, settings: Settings, **arguments: Any) -> Any:
    """Call ``measurements.<module>.<function>(**arguments)`` in a process of its own; JSON in, JSON out.

    What one measurement leaves behind (threads, caches, memory) then does not slow the next.
    """
    with tempfile.NamedTemporaryFile(dir=settings.work, suffix=".json", delete=False) as answer:
        file = Path(answer.name)
    threads = {} if settings.threads is None else {"OMP_NUM_THREADS": str(settings.threads)}
    call = json.dumps([module, function, arguments, str(file)])
    run([sys.executable, str(BENCHMARKS / "in_process.py"), call], settings.work, **threads)
    return json.loads(file.read_text(encoding="utf-8"))


def time_words(seconds: float) -> str:
    """Seconds with a fitting unit."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
