"""Commands that need not import torch anew: a server has the libraries loaded, and forks a process for each command.

``xlm`` takes seconds to start, nearly all of it torch's, Lightning's and transformers' own. The runtime and the models
are imported by the forked process, from the path of the environment that the command belongs to; directory, variables,
streams, signals and exit status are the command's own.

    with warm.serve(directory) as socket:
        warm.install(environment / "bin" / "xlm", environment / "bin" / "python", socket)
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: Libraries of others only: whatever is loaded here is the same for every command.
LIBRARIES = (
    "torch",
    "torch._dynamo",
    "torch.distributed.fsdp",
    "torch.utils.tensorboard",
    "torchmetrics",
    "torchdata.stateful_dataloader",
    "lightning.pytorch",
    "lightning.pytorch.loggers",
    "lightning.pytorch.callbacks",
    "transformers.optimization",
    "transformers.tokenization_utils_fast",
    "tokenizers",
    "hydra",
    "omegaconf",
    "rich.table",
    "rich.progress",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
)

#: Of ``python -m``, what the server runs.
MODULES = ("pytest", "xlm_runtime.cli", "xlm_runtime.lm_eval", "submitit.core._submit")

#: Of copier alone. It starts git over a hundred times an update, each time by a fork of all its memory.
COPIER = ("copier._cli",)

_CLIENT = """\
#!{python} -IS
import array, json, os, signal, socket, sys
argv, module, here = sys.argv, {module!r}, False
if module is None:
    start = 2 if argv[1:2] == ["-u"] else 1
    if argv[start : start + 1] == ["-m"] and argv[start + 1 : start + 2] in {modules!r}:
        argv, module, here = [argv[0], *argv[start + 2 :]], argv[start + 1], True
    elif {files} and argv[1:] and argv[1].endswith(".py"):
        argv, module = argv[1:], argv[1]
    else:
        os.execv({python!r}, [{python!r}, *argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
words = dict(argv=argv, module=module, here=here, cwd=os.getcwd(), env=dict(os.environ), umask=os.umask(0))
words.update(python={python!r}, executable={executable!r})
os.umask(words["umask"])
data = json.dumps(words).encode()
server.sendmsg([len(data).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(data)
answers = server.makefile("r")
job = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: os.kill(job, number))
status = int(answers.readline())
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


def install(
    program: Path, python: Path, address: str, module: str = "xlm_runtime.cli", executable: Path | None = None
) -> None:
    """Make ``program`` the command of a module, which the server at ``address`` runs with ``python``'s packages.

    Args:
        executable: what starts further processes, the program's ``sys.executable``; without one, ``python``.
    """
    _write(program, python, address, module, executable or python)


def install_python(program: Path, python: Path, address: str, files: bool = False) -> None:
    """Make ``program`` an interpreter: ``-m pytest`` and ``-m`` with a program of the runtime go to the server, and so
    do those that they start by ``sys.executable``, and with ``files`` also scripts; all else goes to ``python``.
    """
    _write(program, python, address, None, program, files)


def _write(
    program: Path, python: Path, address: str, module: str | None, executable: Path, files: bool = False
) -> None:
    words = {"module": module, "executable": str(executable), "files": files, "modules": [[name] for name in MODULES]}
    text = _CLIENT.format(python=str(python), address=address, **words)
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)


@contextmanager
def serve(libraries: tuple[str, ...] = LIBRARIES) -> Iterator[str]:
    """Run a server meanwhile that has loaded these; its address."""
    with tempfile.TemporaryDirectory(prefix="xlm-warm-") as directory:
        address = str(Path(directory) / "s")
        variables = {**os.environ, "HOME": directory, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, __file__, address, *libraries]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables, cwd=directory) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            try:
                yield address
            finally:
                server.terminate()


def _listen(address: str, *libraries: str) -> None:
    for name in libraries:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a job would copy all of this
    gc.set_threshold(20_000, 20, 20)
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as waiting:
        listener.bind(address)
        listener.listen()
        waiting.register(listener, selectors.EVENT_READ, None)
        print("ready", flush=True)
        while True:
            for key, _ in waiting.select():
                if key.data is not None:
                    key.data.heed(key.fileobj)
                else:
                    _Job(listener.accept()[0], waiting)


class _Job:
    """A command, from its words to its status. No process of its own waits for it: each one forked costs time."""

    def __init__(self, connection: socket.socket, waiting: selectors.BaseSelector) -> None:
        self._connection, self._waiting, self._over = connection, waiting, False
        head, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(3 * array.array("i").itemsize))
        if not ancillary:  # the command was killed before it has said anything
            connection.close()
            return
        streams = array.array("i")
        streams.frombytes(ancillary[0][2])
        length, data = int.from_bytes(head, "big"), b""
        while len(data) < length:
            data += connection.recv(length - len(data))
        self._number = os.fork()
        if self._number == 0:
            for source in [connection, *(key.fileobj for key in waiting.get_map().values())]:
                os.close(source) if isinstance(source, int) else source.close()
            waiting.close()
            words = json.loads(data)
            _become(words, streams.tolist())
            _run(words["module"])
        for stream in streams:
            os.close(stream)
        with suppress(OSError):
            connection.sendall(f"{self._number}\n".encode())
        self._end = os.pidfd_open(self._number)
        for source in (self._end, connection):
            waiting.register(source, selectors.EVENT_READ, self)

    def heed(self, source: Any) -> None:
        """The job has ended, or its command was killed: nothing is ever said on its connection."""
        if self._over:  # both came at the same moment
            return
        if source is self._connection:
            self._waiting.unregister(source)
            os.kill(self._number, signal.SIGKILL)
            return
        self._over = True
        self._waiting.unregister(self._end)
        if self._connection in self._waiting.get_map():
            self._waiting.unregister(self._connection)
        os.close(self._end)
        _, status = os.waitpid(self._number, 0)
        with suppress(OSError):
            self._connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        self._connection.close()


def _run(module: str) -> None:
    """Run a module as a program, and end as an interpreter does, less the taking apart of every loaded library."""
    status = 0
    try:
        if module.endswith(".py"):
            sys.path.insert(0, str(Path(module).resolve().parent))
            runpy.run_path(module, run_name="__main__")
        else:
            runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _become(words: dict, streams: list[int]) -> None:
    """Take over directory, variables, streams and path of a command."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.umask(words["umask"])
    os.chdir(words["cwd"])
    os.environ.clear()
    os.environ.update(words["env"])
    sys.argv, sys.executable = words["argv"], words["executable"]
    environment = Path(words["python"]).parents[1]
    sys.prefix = sys.exec_prefix = str(environment)
    known = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    standard = [p for p in sys.path if p in known or p.endswith((".zip", "lib-dynload"))]
    given = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    sys.path[:] = [*([words["cwd"]] if words["here"] else []), *given, *standard]
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site.addsitedir(str(environment / "lib" / version / "site-packages"))
    importlib.invalidate_caches()
    # What these have read from variables and the directory when they were imported.
    if "huggingface_hub.constants" in sys.modules:
        importlib.reload(sys.modules["huggingface_hub.constants"])
    if machine := sys.modules.get("plumbum.machines.local"):  # Copier runs git by it
        machine.local.env.clear()
        machine.local.env.update(os.environ)
        machine.local.cwd.chdir(words["cwd"])


if __name__ == "__main__":
    _listen(*sys.argv[1:])
