"""Signals that ask a run to stop: Ctrl-C, SIGTERM of a scheduler, SIGUSR1 of SLURM shortly before time is up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from types import FrameType
from typing import Any

#: Windows has no SIGUSR1.
STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class Stopped(BaseException):
    """A run has saved its state and ends, because a signal asked for it."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.step = number, step


class Listener:
    """Remembers the first signal; a second Ctrl-C does not wait for the end of the step."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def start(self) -> None:
        """Listen. Only the main thread may; elsewhere nothing changes."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in STOPPING}

    def stop(self) -> None:
        """What was done with these signals before is done again."""
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number


def ignore_in_worker(worker: int) -> None:
    """For a loader's worker: a terminal and a scheduler signal whole groups, and the run still wants its last batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def requeue() -> str:
    """Ask SLURM to run this job again; says what came of it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}" if array else os.environ.get("SLURM_JOB_ID", "")
    if not re.fullmatch(r"[0-9]+(_[0-9]+)?", job):
        return "This is no SLURM job, which could be requeued."
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"SLURM job {job} could not be requeued: {error}."
    if done.returncode:
        return f"SLURM job {job} could not be requeued: {(done.stderr or done.stdout).strip()}."
    return f"SLURM job {job} is requeued."
