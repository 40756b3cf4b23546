"""Signals that ask a run to stop: Ctrl-C, SIGTERM of a scheduler, SIGUSR1 of SLURM shortly before time is up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: Windows has no SIGUSR1.
STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]

#: Seconds within which several signals are one request: a terminal and a launcher pass the same Ctrl-C on, each.
_ONE_REQUEST = 1.0


class Stopped(BaseException):
    """A run has saved its state and ends, because a signal asked for it."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.step = number, step


class Listener:
    """Remembers the first signal, which is heeded at the end of a step; a second one does not wait for that.

    Python runs a handler between two of its own instructions: never, in a process that waits for another one in vain.
    So a thread reads the signals too.

    Args:
        at_once: end the process at the first SIGTERM or SIGUSR1 already, as there is nothing new to be saved. SIGINT is
            left as it was.
    """

    def __init__(self, at_once: bool = False) -> None:
        self.received = 0
        self._at_once = at_once
        self._before: dict[int, Any] = {}
        self._pipe = self._woken = -1

    def start(self, last_words: Callable[[int], None]) -> None:
        """Listen. Only the main thread may; elsewhere nothing changes.

        Args:
            last_words: called with the number of the signal that ends the process (the first one, or a second SIGINT or
                SIGTERM), in a thread; the process ends after it.
        """
        if threading.current_thread() is threading.main_thread():
            numbers = [number for number in STOPPING if not (self._at_once and number == signal.SIGINT)]
            self._before = {number: signal.signal(number, self._note) for number in numbers}
            read, self._pipe = os.pipe()
            os.set_blocking(self._pipe, False)
            self._woken = signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
            watch = _watch_first if self._at_once else _watch_second
            threading.Thread(target=watch, args=(read, last_words), daemon=True).start()

    def stop(self) -> None:
        """What was done with these signals before is done again."""
        if not self._before:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}
        signal.set_wakeup_fd(self._woken)
        os.write(self._pipe, bytes(1))  # a worker may hold this end open: closing it would not end the thread
        os.close(self._pipe)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number


@contextmanager
def at_once(last_words: Callable[[int], None]) -> Iterator[None]:
    """End the process at the first SIGTERM or SIGUSR1, but while another Listener listens, which heeds them later.

    Args:
        last_words: called with its number, in a thread.
    """
    listener = Listener(at_once=True)
    listener.start(last_words)
    try:
        yield
    except Stopped:  # the Listener that has heard the signal goes on, to the end of the process
        raise
    except BaseException:
        listener.stop()
        raise
    listener.stop()


def say_last(words: str) -> None:
    """Print to stderr from the thread in which a process ends."""
    os.write(sys.stderr.fileno(), f"{words}\n".encode())  # print would wait for a thread that hangs in one


def _watch_first(pipe: int, last_words: Callable[[int], None]) -> None:
    """End the process at the first SIGTERM or SIGUSR1; a zero ends this."""
    while number := os.read(pipe, 1)[0]:
        if number in STOPPING and number != signal.SIGINT:
            last_words(number)
            os._exit(128 + number)
    os.close(pipe)


def _watch_second(pipe: int, last_words: Callable[[int], None]) -> None:
    """End the process at the second signal that asks for it; a zero ends this."""
    first: float | None = None
    while number := os.read(pipe, 1)[0]:
        if number not in (signal.SIGINT, signal.SIGTERM):
            continue
        first = first or time.monotonic()
        if time.monotonic() - first > _ONE_REQUEST:
            last_words(number)
            os._exit(128 + number)
    os.close(pipe)


def ignore_sigterm() -> None:
    """Of a process that is about to end by itself."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def ignore_in_worker(worker: int) -> None:
    """For a loader's worker: a terminal and a scheduler signal whole groups, and the run still wants its last batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)  # the run's own


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
