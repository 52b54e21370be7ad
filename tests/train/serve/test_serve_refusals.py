"""What the page refuses: uploads that are too large or too many, and videos that kill or outlast their decoder."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from made_run import make_run

from shared.errors import DataError
from shared.machine.workers import WorkerDied, WorkerOverran
from train.serve.jobs import Job, Jobs
from train.serve.limits import MOST_WAITING

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from train.serve import app as app_module
from train.serve.answering import answer
from train.serve.app import make_app


def ask(app: Any, method: str, path: str, pieces: list[bytes], headers: dict[str, str]) -> tuple[int, str, int]:
    """Status and text of an answer, and how many pieces of the body were not read."""
    left = list(pieces)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        body = left.pop(0) if left else b""
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    path, _, query = path.partition("?")
    given = {"Host": "localhost"} | headers
    scope = {
        "type": "http", "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2),
        "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:]).decode(), len(left)


def test_uploads_that_are_too_large_or_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "_MOST_BYTES", 10)
    jobs = Jobs()
    app = make_app(jobs, tmp_path, class_names=("walk",), origin="one", notes=())
    found = re.search(r'data-token="([^"]+)"', ask(app, "GET", "/", [], {})[1])
    assert found
    token = {"X-LSViT-Token": found[1]}
    for headers, pieces in ((token | {"Content-Length": "11"}, [b"abc"]), (token, [b"abcdef", b"ghijkl", b"m"])):
        status, text, num_left = ask(app, "POST", "/videos?name=a.mp4", pieces, headers)
        assert (status, num_left) == (413, 0) and "larger than 200 MB" in json.loads(text)["error"]
    assert not list(tmp_path.iterdir())
    for index in range(MOST_WAITING):
        assert ask(app, "POST", f"/videos?name={index}.avi&action=walk", [b"abc", b"def"], token)[0] == 202
    status, text, num_left = ask(app, "POST", "/videos?name=a.mp4", [b"abc", b"def"], token)
    assert (status, num_left) == (503, 0) and f"{MOST_WAITING} videos are waiting" in text
    assert sorted(file.read_bytes() for file in tmp_path.iterdir()) == [b"abcdef"] * MOST_WAITING
    job = jobs.take(seconds=0)
    assert job is not None and (job.name, job.label, job.video.suffix) == ("0.avi", 0, ".avi")


class Pool:
    """Stands for a pool whose jobs end in one way."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome

    def submit(self, function: object, argument: object) -> None:
        pass

    def wait(self, ticket: object) -> object:
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "words"),
    [(WorkerDied(exit_code=-11), r"crashes FFmpeg \(SIGSEGV\)"), (WorkerOverran(seconds=60.0), "longer than 60 s")],
)
def test_a_video_that_its_decoder_does_not_survive(outcome: object, words: str, tmp_path: Path) -> None:
    loaded = make_run(tmp_path / "one")
    job = Job(number="x", video=tmp_path / "0.mp4", name="a.mp4", label=None)
    with pytest.raises(DataError, match=words):
        answer(loaded, Pool(outcome), job, shape=loaded.facts.shape, origin="one")  # type: ignore[arg-type]
