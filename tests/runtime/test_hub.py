"""The hub: a stand-in answers as the real one does, where it takes and gives, and where it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer, as_client, hub_server
from huggingface_hub import constants

from xlm_runtime import hub
from xlm_runtime.errors import CheckpointError, ConfigError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub that has me/taken; the hub's client talks to it, with a good token."""
    with hub_server() as server:
        server.repositories["me/taken"] = {"0" * 40: {}}
        as_client(server, monkeypatch, tmp_path)
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    (made / "README.md").write_text("# A card\n", encoding="utf-8")
    return made


@pytest.mark.parametrize("name", [None, "", "alone", "a/b/c", "me/", "/x", "me/../x", "me/a b"])
def test_a_name_that_is_none_is_refused(folder: Path, name: Any) -> None:
    with pytest.raises(ConfigError, match=r"repo_id is .*expected user/name"):
        hub.push(folder, name, private=True)


@pytest.mark.parametrize("uri", ["hf://", "hf://me", "hf://me/x/y", "hf://me/@main"])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"ckpt_path is 'hf://.*expected hf://user/name, or hf://user/name@revision"):
        hub.fetch(uri)


def test_without_a_token_nothing_is_made(server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(CheckpointError, match="no token for the hub: set HF_TOKEN"):
        hub.push(folder, "me/new", private=True)
    assert not any(line.startswith("POST") for line in server.asked)


def test_a_bad_token_makes_nothing(server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    with pytest.raises(CheckpointError, match="refuses the token"):
        hub.push(folder, "me/new", private=True)
    assert "GET /api/whoami-v2" in server.asked and not any(line.startswith("POST") for line in server.asked)


def test_a_taken_name_is_refused_and_left_alone(server: HubServer, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="me/taken: the name is taken on the hub"):
        hub.push(folder, "me/taken", private=True)
    assert server.asked[-1] == "POST /api/repos/create" and server.repositories == {"me/taken": {"0" * 40: {}}}


def test_somebody_elses_name_is_refused(server: HubServer, folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"refuses the token \(403\)"):
        hub.push(folder, "you/new", private=True)


@pytest.mark.parametrize("private", [True, False])
def test_a_folder_is_uploaded_in_one_commit_and_fetched_whole(server: HubServer, folder: Path, private: bool) -> None:
    weights = bytes(range(256)) * 40
    (folder / "model.safetensors").write_bytes(weights)
    assert hub.push(folder, "me/new", private) == f"{server.address}/me/new"
    empty, first = server.repositories["me/new"]
    assert server.repositories["me/new"][first] == {"README.md": b"# A card\n", "model.safetensors": weights}
    assert ("me/new" in server.private) is private
    for revision in ("", "@main", f"@{first}"):
        fetched = hub.fetch(f"hf://me/new{revision}")
        assert {file.name: file.read_bytes() for file in fetched.iterdir()} == server.repositories["me/new"][first]
    assert not hub.fetch(f"hf://me/new@{empty}").exists()  # of the commit before, nothing


def test_what_is_private_is_not_shown_to_others(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push(folder, "me/new", private=True)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(CheckpointError, match="no such repository, or does not show it to you"):
        hub.fetch("hf://me/new")


def test_no_code_and_no_pickle_is_fetched(server: HubServer) -> None:
    files = {"config.yaml": b"a", "model.py": b"a", "pytorch_model.bin": b"a", "best.ckpt": b"a", "x/config.yaml": b"a"}
    server.repositories["me/taken"]["1" * 40] = files
    found = [
        file.relative_to(folder).as_posix() for folder in [hub.fetch("hf://me/taken")] for file in folder.rglob("*")
    ]
    assert found == ["config.yaml"]
    assert not [line for line in server.asked if line.endswith((".py", ".bin", ".ckpt"))]


def test_what_could_not_be_uploaded_leaves_no_repository(server: HubServer, folder: Path) -> None:
    server.full = True
    with pytest.raises(CheckpointError, match="me/new: the hub answers with 413"):
        hub.push(folder, "me/new", private=True)
    assert server.asked[-1].startswith("DELETE /api/repos/delete") and "me/new" not in server.repositories


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("hf://me/none", "hf://me/none: the hub has no such repository"),
        ("hf://me/taken@v9", "no such revision"),
    ],
)
def test_what_the_hub_does_not_have(server: HubServer, uri: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        hub.fetch(uri)


def test_no_network_is_said(server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    for action in (lambda: hub.fetch("hf://me/taken"), lambda: hub.push(folder, "me/new", True)):
        with pytest.raises(CheckpointError, match="cannot be reached"):
            action()
