"""lsvit-train serve: a real browser gives videos to the real command; others can neither ask nor send anything."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import command_line, fail_here, succeed_here
from made_run import make_run
from media import make_video
from visits import open_browser

pytest.importorskip("starlette", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@dataclass
class Served:
    """A served run."""

    address: str
    folder: Path
    """Holds `runs`, `clip.mp4` and `temporary`, its folder of temporary files."""
    process: subprocess.Popen[str]

    @property
    def uploads(self) -> list[str]:
        """The names of the files that were uploaded and are still there."""
        return [file.name for file in (self.folder / "temporary").glob("lsvit-serve-*/*")]

    def ask(
        self, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers of an answer."""
        request = urllib.request.Request(f"{self.address}{path}", data=body, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)

    @property
    def token(self) -> str:
        """What the page's requests bear."""
        found = re.search(r'data-token="([^"]+)"', self.ask("/")[1])
        assert found
        return found[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "temporary").mkdir()
    make_run(folder / "runs" / "one")
    make_video(folder / "clip.mp4", num_frames=24)
    environment = os.environ | {"TMPDIR": str(folder / "temporary"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command_line("lsvit-train", ["serve", "one", "--port", "0", "--device", "cpu"]),
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, (line, process.communicate(timeout=60))
    yield Served(address=found[0], folder=folder, process=process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.splitlines() == [
        "interrupted: the page is closed, and its videos are removed"
    ]
    assert not list((folder / "temporary").glob("lsvit-serve-*"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with open_browser(*CAMERA) as browser:
        yield browser


def test_videos_in_a_browser(served: Served, chromium: Any) -> None:
    page = chromium.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(served.address)
    assert "says nothing about HMDB51" in page.inner_text("header")
    assert "at most 200 MB and 120 s" in page.inner_text("#drop")

    page.set_input_files("#file", served.folder / "clip.mp4")
    page.wait_for_selector("#result:not([hidden])", timeout=60_000)
    out = succeed_here("lsvit-train", "predict", served.folder / "runs" / "one", served.folder / "clip.mp4", "--json")
    best = json.loads(out)[0]["predictions"][0]
    assert page.inner_text("#action-name") == best["action"]
    assert page.inner_text("#percent") == f"{100 * best['probability']:.2f} %"
    explanation = page.frame_locator("#explanation")
    assert explanation.locator("h1").inner_text() == "clip.mp4"
    assert "explained here" in explanation.locator("tr.explained").inner_text()
    assert explanation.locator(".stack img").count() == 4 * 4  # frames, of four kinds

    others = [name for name in page.locator("#action option").all_inner_texts()[1:] if name != best["action"]]
    page.select_option("#action", others[0])
    page.wait_for_function("name => document.getElementById('explanation').contentDocument?.body?.innerText.includes("
                           "`attention for ${name}`)", arg=others[0], timeout=60_000)  # fmt: skip
    assert page.inner_text("#action-name") == best["action"]

    page.click("#camera")
    page.click("#record")
    page.wait_for_timeout(500)
    page.click("#record")
    page.wait_for_selector("#result:not([hidden])", timeout=60_000)
    assert page.inner_text("#status") == "camera.webm is answered."

    page.set_input_files("#file", {"name": "bad.avi", "mimeType": "video/x-msvideo", "buffer": b"not a video"})
    page.wait_for_selector("#error:not([hidden])", timeout=60_000)
    assert page.inner_text("#error").startswith("bad.avi: not a video that FFmpeg can open")
    assert not page.locator("#result").is_visible()
    assert not served.uploads
    assert all(url.startswith((served.address, f"blob:{served.address}", "data:")) for url in asked)
    assert not complaints
    page.close()


def test_others_are_refused(served: Served) -> None:
    token = {"X-LSViT-Token": served.token}
    assert served.ask("/", headers={"Host": "evil.example:80"})[0] == 400  # a name that was made to point here
    for headers in ({}, {"X-LSViT-Token": "x"}, token | {"Origin": "http://evil.example"}):
        status, text, _ = served.ask("/videos?name=a.mp4", body=b"abc", headers=headers)
        assert status == 403 and "reload" in json.loads(text)["error"]
    status, text, _ = served.ask("/videos?name=a.mp4", body=b"", headers=token)
    assert status == 400 and "empty (0 bytes)" in text
    assert served.ask("/videos?name=a.mp4&action=swim", body=b"abc", headers=token)[0] == 400
    assert served.ask("/videos", headers=token)[0] == 405
    assert served.ask("/videos/unknown")[0] == served.ask("/videos/unknown/explanation")[0] == 404
    assert served.ask("/../../etc/passwd")[0] == 404
    _, text, headers = served.ask("/")
    assert headers["x-frame-options"] == "SAMEORIGIN" and headers["cache-control"] == "no-store"
    assert "default-src 'none'" in text and "connect-src 'self'; media-src blob:; frame-src 'self'" in text
    assert not served.uploads


def test_an_upload_that_is_cut_off_leaves_nothing(served: Served) -> None:
    host, port = served.address.removeprefix("http://").split(":")
    lines = ("POST /videos?name=a.mp4 HTTP/1.1", f"Host: {host}", f"X-LSViT-Token: {served.token}", "Content-Length: 9")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall("\r\n".join((*lines, "", "abc")).encode())
        wait_until(lambda: len(served.uploads) == 1)
    wait_until(lambda: not served.uploads)
    assert served.ask("/")[0] == 200


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it does not come")


def test_a_taken_port_and_a_missing_run(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    port = served.address.rpartition(":")[2]
    taken = ["serve", "one", "--runs", served.folder / "runs", "--port", port]
    assert f"--port {port} is taken" in fail_here(2, "lsvit-train", *taken)
    assert "no run with a checkpoint" in fail_here(1, "lsvit-train", "serve", "two", "--runs", served.folder / "runs")
    assert served.process.poll() is None
    monkeypatch.setattr("shared.missing_packages.find_spec", lambda name: None)
    assert "hmdb51-lsvit[serve]" in fail_here(2, "lsvit-train", *taken)
