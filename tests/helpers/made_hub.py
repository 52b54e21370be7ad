"""A hub on loopback: the part of the Hugging Face hub's protocol that makes repositories and takes and gives files."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

TOKEN = "hf_" + "a" * 34


class MadeHub(BaseHTTPRequestHandler):
    """Its repositories are made by requests; a token other than TOKEN is refused, as is the owner ``other``."""

    files: dict[str, bytes]
    asked: list[str]
    endpoint: str

    def do_HEAD(self) -> None:
        self.give(with_body=False)

    def do_GET(self) -> None:
        self.give(with_body=True)

    def give(self, *, with_body: bool) -> None:
        repo, _, name = self.path.lstrip("/").partition("/resolve/main/")
        content = self.files.get(f"{repo}/{name}")
        if content is None:
            known = any(path.startswith(f"{repo}/") for path in self.files)
            return self.answer(404, code="EntryNotFound" if known else "RepoNotFound")
        return self.answer(200, content, name=name, with_body=with_body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append(self.path)
        if self.path == "/api/validate-yaml":
            assert json.loads(body)["content"].startswith("---\n")
            return self.say(200, {"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.say(401, {"error": "Invalid username or password."})
        if self.path == "/api/repos/create":
            owner = json.loads(body).get("organization", "me")
            repo = f"{owner}/{json.loads(body)['name']}"
            if owner == "other":
                return self.say(403, {"error": "You don't have the rights to create a model under this namespace"})
            return self.say(200, {"url": f"{self.endpoint}/{repo}", "name": repo})
        repo = self.path.removeprefix("/api/models/").rpartition("/")[0].rpartition("/")[0]
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return self.say(200, {"files": files})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.files[f"{repo}/{line['value']['path']}"] = base64.b64decode(line["value"]["content"])
        url = f"{self.endpoint}/{repo}/commit/{'0' * 40}"
        return self.say(200, {"success": True, "commitUrl": url, "commitOid": "0" * 40, "hookOutput": ""})

    def say(self, status: int, content: object) -> None:
        self.answer(status, json.dumps(content).encode())

    def answer(
        self, status: int, content: bytes = b"", *, code: str = "", name: str = "", with_body: bool = True
    ) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{name}"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def open_hub() -> Iterator[type[MadeHub]]:
    """A hub without repositories."""
    MadeHub.files, MadeHub.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), MadeHub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    MadeHub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield MadeHub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def use_hub(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path, *, token: str = TOKEN) -> None:
    """Have the hub's client in this process use this hub, and keep what it downloads in ``cache``."""
    from huggingface_hub import constants

    values = {"ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_XET": True}
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    for name, value in (values | {"HUGGINGFACE_CO_URL_TEMPLATE": template}).items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
