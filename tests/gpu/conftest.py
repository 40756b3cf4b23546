"""What only a GPU can show: `make gpu`. No part of `make test`; on a machine without a GPU it fails and says so."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "reference-models"


def pytest_configure() -> None:
    if not torch.cuda.is_available():
        raise pytest.UsageError("These checks need a GPU that torch can use, and there is none here.")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


#: ``xlm(*words)``
Xlm = Callable[..., Done]


@pytest.fixture
def xlm(tmp_path: Path) -> Xlm:
    """``xlm`` as a process of its own, in the test's directory, which finds the reference models."""
    variables = {"XLM_MODELS_PATH": str(MODELS), "XLM_CACHE_DIR": str(tmp_path / "cache"), "XLM_TRACEBACK": ""}

    def run(*words: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "xlm_runtime.cli", *words],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--page", action="store_true", help="write docs/results/gpu.md")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The page of the documents: every check, and how it ended."""
    if not config.getoption("--page"):
        return
    ended = {outcome: terminalreporter.getreports(outcome) for outcome in ("passed", "failed")}
    words = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    card = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    lines = [
        "# Checks on a GPU",
        "",
        "Written by `make gpu` (`tests/gpu`); nothing here is typed by hand.",
        "",
        f"{len(ended['passed'])} passed, {len(ended['failed'])} failed: {datetime.now(UTC):%Y-%m-%d}, {card}, "
        f"torch {torch.__version__}, commit {commit}. The runtime is made for `{_asked_for()}`: with another one, a "
        "failure may come of that.",
        "",
        "| check | outcome |",
        "|---|---|",
    ]
    rows = [(report.nodeid.split("/")[-1], outcome) for outcome, reports in ended.items() for report in reports]
    lines += [f"| `{name}` | {'passed' if outcome == 'passed' else '**failed**'} |" for name, outcome in sorted(rows)]
    (ROOT / "docs" / "results" / "gpu.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _asked_for() -> str:
    pyproject = tomllib.loads((ROOT / "runtime" / "pyproject.toml").read_text(encoding="utf-8"))
    return next(word for word in pyproject["project"]["dependencies"] if word.startswith("torch>"))
