"""A stand-in for the Hugging Face hub: what its client asks of it to make a repository, upload to it, and fetch it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

TOKEN = "hf_good"
_FILE = re.compile(r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_MODEL = re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)/(?P<what>preupload|commit|revision|tree)/(?P<revision>[^/]+)")


class HubServer(ThreadingHTTPServer):
    """Knows user "me".

    Args:
        token: of "me".

    Attributes:
        asked: every request, as ``METHOD path``, the JSON of its body behind it if it has one.
        repositories: by name, the files of each commit, in their order: commit -> path -> content.
        private: the names of those that nobody but "me" sees.
        full: whether it takes no commits.
    """

    daemon_threads = True

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.asked: list[str] = []
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.full = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit_of(self, name: str, revision: str) -> str | None:
        """The commit that ``main`` or a commit's own name says."""
        commits = self.repositories.get(name, {})
        return next(reversed(commits), None) if revision == "main" else revision if revision in commits else None


@contextmanager
def hub_server(token: str = TOKEN) -> Iterator[HubServer]:
    """One that listens until the context ends."""
    with HubServer(token) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def as_client(server: HubServer, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Let the hub's client of this process talk to the server, with a good token; its cache is below ``directory``."""
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(directory / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(directory / "token"))
    monkeypatch.setenv("HF_TOKEN", server.token)


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def _get(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        file, model = _FILE.fullmatch(path), _MODEL.fullmatch(path)
        if path == "/api/whoami-v2":
            self._json(200, {"name": "me", "type": "user"}) if self._is_me() else self._json(401, {"error": "no"})
        elif not (found := file or model) or not self._sees(found["name"]):
            self._json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif (commit := self.server.commit_of(found["name"], found["revision"])) is None:
            self._json(404, {"error": "Revision not found"}, {"X-Error-Code": "RevisionNotFound"})
        elif model:
            files = self.server.repositories[found["name"]][commit]
            if model["what"] == "tree":
                self._json(
                    200, [{"type": "file", "path": name, "size": len(c), "oid": _oid(c)} for name, c in files.items()]
                )
                return
            siblings = [{"rfilename": name} for name in files]
            self._json(200, {"id": found["name"], "sha": commit, "private": False, "siblings": siblings, "tags": []})
        elif (content := self.server.repositories[found["name"]][commit].get(found["path"])) is None:
            self._json(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        else:
            self._answer(200, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": commit})

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self._body()
        model = _MODEL.fullmatch(path)
        if not self._is_me():
            self._json(401, {"error": "no"})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":  # of the model card
            self._json(200, {"errors": [], "warnings": []})
        elif model and model["what"] == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self._json(200, {"files": files})
        elif model and not self.server.full:
            self._commit(model["name"], body)
        else:
            self._json(413, {"error": "Too large"})
        self.server.asked.append(f"POST {path}")

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if not name.startswith("me/"):
            self._json(403, {"error": "You have no right"})
        elif name in self.server.repositories:
            self._json(409, {"error": "You already created this model repo"})
        else:
            self.server.repositories[name] = {"0" * 40: {}}
            if asked.get("visibility") == "private" or asked.get("private"):
                self.server.private.add(name)
            self._json(200, {"url": f"{self.server.address}/{name}"})

    def _commit(self, name: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        commits = self.server.repositories[name]
        files = dict(commits[next(reversed(commits))])
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        commit = _oid(body)
        commits[commit] = files
        self._json(
            200, {"commitUrl": f"{self.server.address}/{name}/commit/{commit}", "commitOid": commit, "success": True}
        )

    def do_DELETE(self) -> None:
        asked = json.loads(self._body())
        self.server.asked.append(f"DELETE {self.path}")
        self.server.repositories.pop(f"{asked.get('organization') or 'me'}/{asked['name']}", None)
        self._json(200, {})

    def _sees(self, name: str) -> bool:
        return name in self.server.repositories and (name not in self.server.private or self._is_me())

    def _is_me(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.server.token}"

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _json(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        self._answer(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def _oid(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
