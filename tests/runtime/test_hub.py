"""The hub: a stand-in answers as the real one does where it refuses; what is uploaded and fetched is watched."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from xlm_runtime import hub
from xlm_runtime.errors import CheckpointError, ConfigError


class Hub(BaseHTTPRequestHandler):
    """Knows user "me" with the token "good", and the repositories of ``taken``."""

    taken = ("me/taken",)
    asked: list[str]

    def do_GET(self) -> None:
        self.server.asked.append(f"GET {self.path}")  # type: ignore[attr-defined]
        if self.path == "/api/whoami-v2":
            self._answer(200, {"name": "me"}) if self._token() == "Bearer good" else self._answer(401, {"error": "no"})
        elif any(f"/api/models/{name}/" in self.path for name in self.taken):
            self._answer(404, {"error": "Revision not found"}, "RevisionNotFound")
        else:
            self._answer(404, {"error": "Repository not found"}, "RepoNotFound")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(f"POST {self.path} {json.dumps(body, sort_keys=True)}")  # type: ignore[attr-defined]
        name = f"{body.get('organization', 'me')}/{body.get('name')}"
        if self.path == "/api/repos/create" and name in self.taken:
            self._answer(409, {"error": "You already created this model repo"})
        elif self.path == "/api/repos/create" and name.startswith("me/"):
            self._answer(200, {"url": f"http://127.0.0.1:{self.server.server_port}/{name}"})
        elif self.path == "/api/repos/create":
            self._answer(403, {"error": "You have no right"})
        else:
            self._answer(500, {"error": "broken"})

    def do_DELETE(self) -> None:
        self.server.asked.append(f"DELETE {self.path}")  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(200, {})

    def _token(self) -> str:
        return str(self.headers.get("Authorization"))

    def _answer(self, status: int, content: dict[str, Any], code: str | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """What the stand-in was asked; the hub's client talks to it, with a good token."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", "good")
    yield server.asked  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


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


def test_without_a_token_nothing_is_made(asked: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(CheckpointError, match="no token for the hub: set HF_TOKEN"):
        hub.push(folder, "me/new", private=True)
    assert asked == []


def test_a_bad_token_makes_nothing(asked: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "bad")
    with pytest.raises(CheckpointError, match="refuses the token"):
        hub.push(folder, "me/new", private=True)
    assert "GET /api/whoami-v2" in asked and not any(line.startswith("POST") for line in asked)


def test_a_taken_name_is_refused_and_left_alone(asked: list[str], folder: Path) -> None:
    with pytest.raises(CheckpointError, match="me/taken: the name is taken on the hub"):
        hub.push(folder, "me/taken", private=True)
    assert asked[-1].startswith("POST /api/repos/create")


def test_somebody_elses_name_is_refused(asked: list[str], folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"refuses the token \(403\)"):
        hub.push(folder, "you/new", private=True)


@pytest.mark.parametrize("private", [True, False])
def test_a_folder_is_uploaded_in_one_commit(
    asked: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    uploads: list[dict[str, Any]] = []
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", lambda self, **given: uploads.append(given))
    assert hub.push(folder, "me/new", private) == f"{constants.ENDPOINT}/me/new"
    assert f'"visibility": "{"private" if private else "public"}"' in asked[-1]
    assert [(upload["repo_id"], upload["folder_path"]) for upload in uploads] == [("me/new", folder)]


def test_what_could_not_be_uploaded_leaves_no_repository(
    asked: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Any, **_: Any) -> None:
        raise ConnectionError("the line is dead")

    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", fails)
    with pytest.raises(CheckpointError, match=r"cannot be reached .the line is dead"):
        hub.push(folder, "me/new", private=True)
    assert asked[-1].startswith("DELETE /api/repos/delete")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("hf://me/none", "hf://me/none: the hub has no such repository"),
        ("hf://me/taken@v9", "no such revision"),
    ],
)
def test_what_the_hub_does_not_have(asked: list[str], uri: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        hub.fetch(uri)


def test_no_network_is_said(asked: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    for action in (lambda: hub.fetch("hf://me/taken"), lambda: hub.push(folder, "me/new", True)):
        with pytest.raises(CheckpointError, match="cannot be reached"):
            action()


def test_what_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def fetched(repo_id: str, **given: Any) -> str:
        calls.append((repo_id, given))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    assert hub.fetch("hf://me/x@v1") == hub.fetch("hf://me/x") == tmp_path
    assert [(name, given["revision"]) for name, given in calls] == [("me/x", "v1"), ("me/x", None)]
    assert not [pattern for pattern in calls[0][1]["allow_patterns"] if pattern.endswith((".py", ".bin", ".ckpt", "*"))]
