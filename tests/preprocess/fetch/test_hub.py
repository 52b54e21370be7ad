"""Data sets of the Hugging Face hub, from a loopback server that answers as the hub does."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from commands import Outcome, command_line
from made_archives import files_below, make_tar, make_zip

from preprocess.fetch.hub import HubSource, parse_hub_source
from shared.errors import UsageError

COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's protocol that lists a data set and gives its files."""

    endpoint: str
    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(self.path.partition("?")[0]).strip("/")
        self.asked.append(f"{self.command} {path}")
        if path.startswith("api/datasets/"):
            self.describe(path.removeprefix("api/datasets/"))
        elif path.startswith("datasets/"):
            self.give(path.removeprefix("datasets/"))
        else:
            self.refuse("RepoNotFound")

    def describe(self, path: str) -> None:
        """``<repo>/revision/<revision>`` or ``<repo>/tree/<revision>[/<folder>]``."""
        for word in ("/tree/", "/revision/"):
            repo, found, rest = path.partition(word)
            if found:
                break
        files = self.files_of(repo)
        revision, _, folder = rest.partition("/")
        if not files:
            return self.refuse("RepoNotFound")
        if revision not in ("main", "v1", COMMIT):
            return self.refuse("RevisionNotFound")
        if word == "/revision/":
            siblings = [{"rfilename": name} for name in files]
            return self.send(json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode())
        below = {name: data for name, data in files.items() if name.startswith(f"{folder}/" if folder else "")}
        if folder and not below:
            return self.refuse("EntryNotFound")
        tree = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in below.items()]
        return self.send(json.dumps(tree).encode())

    def give(self, path: str) -> None:
        """``<repo>/resolve/<revision>/<file>``."""
        repo, _, rest = path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        files = self.files_of(repo)
        if not files:
            return self.refuse("RepoNotFound")
        if revision not in ("main", "v1", COMMIT):
            return self.refuse("RevisionNotFound")
        if name not in files:
            return self.refuse("EntryNotFound")
        return self.send(files[name], etag=f'"{abs(hash(name)):040x}"')

    def files_of(self, repo: str) -> dict[str, bytes]:
        return {name.removeprefix(f"{repo}/"): data for name, data in self.files.items() if name.startswith(f"{repo}/")}

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, data: bytes, *, etag: str = "") -> None:
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[Hub]]:
    folder = tmp_path_factory.mktemp("made")
    archive = make_tar(folder / "a.tar.gz", {"walk/a.avi": b"A", "run/b.avi": b"B"}).read_bytes()
    odd = "walk/[x]#1!(a)_walk_f_cm_np1_fr_med_0.AVI"
    Hub.files = {
        "lab/clips/data/clips.tar.gz": archive,
        "lab/clips/README.md": b"-",
        "lab/loose/train/walk/a.mp4": b"A",
        "lab/loose/test/walk/b.mp4": b"B",
        f"lab/loose/more/{odd}": b"C",
        "lab/loose/zips/juggle.zip": make_zip(folder / "a.zip", {"d.avi": b"D"}).read_bytes(),
        "lab/tables/data/train-00000.parquet": b"P",
        "lab/tables/README.md": b"-",
    }
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    yield Hub
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(hub: type[Hub], source: str, folder: Path, *options: str, offline: bool = False) -> Outcome:
    """The real command, its cache below ``folder``, since the hub's client reads its environment when imported."""
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "hub"), "NO_PROXY": "127.0.0.1"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": str(int(offline)), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = command_line("hmdb-prep", ["fetch", source, folder / "videos", *options])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr
    return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)


def test_one_archive_of_a_data_set(hub: type[Hub], tmp_path: Path) -> None:
    outcome = fetch(hub, "hf:lab/clips@v1/data/clips.tar.gz", tmp_path)
    assert outcome.code == 0, outcome.err
    assert files_below(tmp_path / "videos") == {"walk/a.avi": b"A", "run/b.avi": b"B"}
    assert "the hub's files stay in its cache" in outcome.out
    outcome = fetch(hub, "hf:lab/clips@v1/data/clips.tar.gz", tmp_path, "--sha256", "0" * 64, offline=True)
    assert outcome.code == 1 and "has SHA-256" in outcome.err


def test_a_whole_data_set_of_loose_videos_and_archives(hub: type[Hub], tmp_path: Path) -> None:
    outcome = fetch(hub, "hf:lab/loose", tmp_path)
    assert outcome.code == 0, outcome.err
    found = files_below(tmp_path / "videos")
    assert found.pop("splits.csv") == b"clip_id,split1\nwalk/a,train\nwalk/b,test\n"
    assert found == {
        "walk/a.mp4": b"A",
        "walk/b.mp4": b"B",
        "walk/[x]#1!(a)_walk_f_cm_np1_fr_med_0.AVI": b"C",
        "juggle/d.avi": b"D",
    }
    assert "hf:lab/loose: 4 of 4 files are videos or archives, 0 MB to download" in outcome.out
    assert "4 videos written (3 as hard links, which take no space, others copied or unpacked)" in outcome.out
    assert outcome.err.startswith("next: ") and outcome.err.count("\n") == 1
    hub.asked.clear()
    again = fetch(hub, "hf:lab/loose", tmp_path)
    assert again.code == 0 and "0 videos written, 4 there already" in again.out
    assert not any(line.startswith("GET datasets/") for line in hub.asked)


def test_a_folder_of_a_data_set(hub: type[Hub], tmp_path: Path) -> None:
    outcome = fetch(hub, "hf:datasets/lab/loose@main/more/", tmp_path)
    assert outcome.code == 0, outcome.err
    assert list(files_below(tmp_path / "videos")) == ["walk/[x]#1!(a)_walk_f_cm_np1_fr_med_0.AVI"]


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("hf:no/where", 1, "the hub has no repository hf:no/where"),
        ("hf:lab/clips@v9", 1, "hf:lab/clips has no revision 'v9'"),
        ("hf:lab/clips/other.zip", 1, "hf:lab/clips has no other.zip"),
        ("hf:lab/clips/other", 1, "hf:lab/clips has no other"),
        ("hf:lab/tables", 1, "hf:lab/tables holds no videos and no archives, only 1 .parquet, 1 .md"),
        ("hf:clips", 2, "hf:clips is no data set of the hub; write hf:OWNER/NAME"),
    ],
)
def test_what_is_not_there(hub: type[Hub], tmp_path: Path, source: str, code: int, words: str) -> None:
    outcome = fetch(hub, source, tmp_path)
    assert outcome.code == code
    assert words in outcome.err
    assert not (tmp_path / "videos").exists()


def test_a_checksum_is_of_one_file(hub: type[Hub], tmp_path: Path) -> None:
    outcome = fetch(hub, "hf:lab/loose", tmp_path, "--sha256", "0" * 64)
    assert outcome.code == 2 and "--sha256 is of one archive" in outcome.err


def test_out_of_reach(hub: type[Hub], tmp_path: Path) -> None:
    for source in ("hf:lab/loose", "hf:lab/clips/data/clips.tar.gz"):
        outcome = fetch(hub, source, tmp_path, offline=True)
        assert outcome.code == 1
        assert f"cannot get {source}: the hub is out of reach" in outcome.err


def test_forms_of_a_source() -> None:
    def parsed(text: str) -> tuple[str, str | None, str]:
        source = parse_hub_source(text)
        return source.repo, source.revision, source.path

    assert parsed("hf:a/b") == ("a/b", None, "")
    assert parsed("hf:a/b@v1.0") == ("a/b", "v1.0", "")
    assert parsed("hf:a/b/x/y.zip") == ("a/b", None, "x/y.zip")
    assert parsed("hf:a/b@refs/pr/3/x@y.tar") == ("a/b", "refs/pr/3", "x@y.tar")
    assert parsed("hf:a/b@main/x/") == ("a/b", "main", "x")
    assert HubSource(repo="a/b", revision=None, path="x.TGZ").is_file
    for text in ("hf:", "hf:a", "hf:a/", "hf:/b", "hf:a/b@"):
        with pytest.raises(UsageError):
            parse_hub_source(text)
