"""An error of the user's is printed once, by however many processes of torchrun's, and never by none."""

from __future__ import annotations

import socket

import pytest
import torch.distributed as dist

from xlm_runtime.errors import ConfigError
from xlm_runtime.exits import report


def torchrun(patch: pytest.MonkeyPatch, port: int) -> None:
    """The variables by which a process of torchrun's finds the store of all."""
    for name, value in (("TORCHELASTIC_USE_AGENT_STORE", True), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", port)):
        patch.setenv(name, str(value))


def test_an_error_of_all_processes_is_printed_once_and_that_of_one_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    torchrun(monkeypatch, store.port)
    for message in ("of all", "of all", "of one", "of all"):
        report(ConfigError(message))
    assert capsys.readouterr().err == "Error: of all\nError: of one\n"


def test_without_torchrun_every_error_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    for _ in range(2):
        report(ConfigError("again"))
    assert capsys.readouterr().err == "Error: again\n" * 2


def test_an_error_is_printed_where_the_store_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        torchrun(monkeypatch, free.getsockname()[1])
    monkeypatch.setattr("xlm_runtime.exits._PATIENCE", 0.1)
    report(ConfigError("alone"))
    assert "Error: alone\n" in capsys.readouterr().err
