"""What the measurements share: a result, settings, fresh processes, and A/B timing side by side.

Machines are shared and noisy, so nothing is compared with a number of another hour: both sides run in turn
(A B, B A, A B, …) and the ratio is the median over the pairs. A burst of other work then spoils a pair or
two, and a slow hour slows both sides alike. Each time is taken by two clocks: the wall's, which is what a user
waits, and the processor's, which stands still while other work has the processor.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[3]
BENCHMARKS = REPOSITORY / "tests" / "benchmarks"
MODELS = REPOSITORY / "reference-models"


@dataclass(frozen=True)
class Settings:
    """What the command line asks for.

    Attributes:
        quick: fewer repetitions, shorter work: to see that it runs, and roughly where it stands.
        threads: of torch, on both sides; 0 leaves torch's own choice.
        work: an empty directory for whatever a measurement writes.
        device: "cpu" or "cuda"; only what is made for both looks at it.
    """

    quick: bool
    threads: int
    work: Path
    device: str = "cpu"

    def repeats(self, usual: int, quick: int) -> int:
        return quick if self.quick else usual

    def on(self, threads: int) -> str:
        """Where something ran, for the name of a row."""
        return "GPU" if self.device == "cuda" else f"{threads} thread{'s' * (threads > 1)}"

    @property
    def accelerator(self) -> str:
        """Lightning's word for the device."""
        return {"cpu": "cpu", "cuda": "gpu"}[self.device]


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes:
        name: what was measured.
        ours: the runtime's figure, as text with its unit.
        compared_with: what stood beside it in the same run, and its figure.
        ratio: ours over the other, by the wall clock; None where there is nothing to divide by.
        processor_ratio: the same by processor time.
        aim: in words; empty if none was set.
        met: whether the aim is met; None if none was set.
        prior: the prior system's figure, measured elsewhere.
        details: raw numbers, for the JSON only.
    """

    name: str
    ours: str
    compared_with: str = ""
    ratio: float | None = None
    processor_ratio: float | None = None
    aim: str = ""
    met: bool | None = None
    prior: str = ""
    details: dict[str, Any] = field(default_factory=dict)


class Seconds(NamedTuple):
    """How long something took, by both clocks."""

    wall: float
    processor: float

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall - other.wall, self.processor - other.processor)

    def __str__(self) -> str:
        return f"{_words(self.wall)} (processor {_words(self.processor)})"


@dataclass(frozen=True)
class Pairs:
    """Times of A and B, measured in turn; ``a[i]`` and ``b[i]`` were neighbours in time."""

    a: list[Seconds]
    b: list[Seconds]

    @property
    def ratio(self) -> float:
        """The median of a / b, pair by pair, by the wall clock."""
        return statistics.median(a.wall / b.wall for a, b in zip(self.a, self.b, strict=True))

    @property
    def processor_ratio(self) -> float:
        return statistics.median(a.processor / b.processor for a, b in zip(self.a, self.b, strict=True))

    def details(self, a: str, b: str) -> dict[str, Any]:
        """For the JSON: every single time of both sides, by their names."""
        return {
            name: {"wall": [t.wall for t in side], "processor": [t.processor for t in side]}
            for name, side in ((a, self.a), (b, self.b))
        }


def fastest(times: Sequence[Seconds]) -> Seconds:
    """The one that other work disturbed least, by each clock."""
    return Seconds(min(t.wall for t in times), min(t.processor for t in times))


def alternate(a: Callable[[], Seconds], b: Callable[[], Seconds], repeats: int) -> Pairs:
    """Call both ``repeats`` times in turn, each first in every other pair."""
    pairs = Pairs([], [])
    for repeat in range(repeats):
        sides = [(a, pairs.a), (b, pairs.b)]
        for call, times in sides if repeat % 2 == 0 else reversed(sides):
            times.append(call())
    return pairs


def now() -> Seconds:
    """Both clocks of this process, once a GPU has done all that it was given."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return Seconds(time.perf_counter(), time.process_time())


def seconds_of(function: Callable[[], object]) -> Seconds:
    """How long one call takes in this process."""
    start = now()
    function()
    return now() - start


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


def process_seconds(command: Sequence[str], cwd: Path, **variables: str) -> Seconds:
    """How long a whole process takes."""
    start, used = time.perf_counter(), _children()
    run(command, cwd, **variables)
    return Seconds(time.perf_counter() - start, _children() - used)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def program(name: str) -> str:
    """The path of a command of this environment, ``xlm`` for instance."""
    return str(Path(sys.executable).with_name(name))


def in_fresh_process(module: str, function: str, settings: Settings, **arguments: Any) -> Any:
    """Call ``measurements.<module>.<function>(**arguments)`` in a process of its own; JSON in, JSON out.

    What one measurement leaves behind (threads, caches, memory) then does not slow the next.
    """
    with tempfile.NamedTemporaryFile(dir=settings.work, suffix=".json", delete=False) as answer:
        file = Path(answer.name)
    threads = {"OMP_NUM_THREADS": str(settings.threads)} if settings.threads else {}
    call = json.dumps([module, function, arguments, str(file)])
    output = run([sys.executable, str(BENCHMARKS / "in_process.py"), call], settings.work, **threads)
    answer = file.read_text(encoding="utf-8")
    if not answer:
        raise RuntimeError(f"measurements.{module}.{function} ended early:\n{output[-1000:]}")
    return json.loads(answer)


def _words(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
