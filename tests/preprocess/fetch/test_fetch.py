"""Fetching over HTTP from a loopback server that misbehaves in every way a real one does."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from made_archives import files_below, make_rar, make_zip, needs_rar

from preprocess.fetch.command import fetch
from preprocess.fetch.download import Retry, archive_name, download
from preprocess.fetch.summary import print_summary
from shared.errors import DataError, UsageError
from shared.splits.parts import official_splits

FAST = Retry(attempts=4, first_wait_seconds=0.01, max_wait_seconds=0.02, timeout_seconds=2.0)


@dataclass
class Served:
    """What the server does next; ``ranges`` records the Range header of every request."""

    data: bytes = b""
    etag: str = '"v1"'
    last_modified: str = ""
    honours_ranges: bool = True
    checks_if_range: bool = True
    statuses: list[int] = field(default_factory=list)
    drop_after: list[int] = field(default_factory=list)
    claim_length: int | None = None
    sends_length: bool = True
    redirect_to: str = ""
    content_type: str = ""
    stalls: bool = False
    change_on_request: dict[int, tuple[bytes, str]] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    """One GET: an error status, a redirect, or (part of) the data, perhaps cut short."""

    served: Served

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Stay silent."""

    def do_GET(self) -> None:
        served = self.served
        served.ranges.append(self.headers["Range"])
        if len(served.ranges) in served.change_on_request:
            served.data, served.etag = served.change_on_request[len(served.ranges)]
        if served.statuses:
            self.send_error(served.statuses.pop(0))
        elif served.redirect_to and self.path != "/page":
            self.send_response(302)
            self.send_header("Location", served.redirect_to)
            self.end_headers()
        else:
            self.send_data(served)

    def send_data(self, served: Served) -> None:
        start = self.wanted_start(served)
        body = served.data[start:]
        if start >= len(served.data) and start:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if served.content_type:
            self.send_header("Content-Type", served.content_type)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(served.data) - 1}/{len(served.data)}")
        if served.etag:
            self.send_header("ETag", served.etag)
        if served.last_modified and not start:  # RFC 9110: may be left out of a 206 after If-Range
            self.send_header("Last-Modified", served.last_modified)
        if served.sends_length:
            self.send_header("Content-Length", str(served.claim_length or len(body)))
        self.end_headers()
        cut = served.drop_after.pop(0) if served.drop_after else len(body)
        self.wfile.write(body[:cut])
        self.wfile.flush()
        if served.stalls:
            threading.Event().wait(1.0)
        self.close_connection = True

    def wanted_start(self, served: Served) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        condition = self.headers["If-Range"]
        if match is None or not served.honours_ranges:
            return 0
        if served.checks_if_range and condition not in (None, served.etag, served.last_modified):
            return 0
        return int(match[1])


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Served()
    handler = type("BoundHandler", (Handler,), {"served": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/files/hmdb51%5Forg.zip?x=1"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


DATA = os.urandom(3_000_000)


def test_a_download_in_one_piece(served: Served, tmp_path: Path) -> None:
    served.data = DATA
    path = download(served.url, tmp_path / "data", retry=FAST)
    assert path == tmp_path / "data" / "hmdb51_org.zip"
    assert path.read_bytes() == DATA
    assert not path.with_suffix(".zip.part").exists()
    assert download(served.url, tmp_path / "data", retry=FAST) == path
    assert served.ranges == [None]


def test_dropped_connections_are_continued(served: Served, tmp_path: Path) -> None:
    served.data, served.drop_after = DATA, [100_000] * 10
    path = download(served.url, tmp_path, retry=FAST)
    assert path.read_bytes() == DATA
    assert served.ranges == [None] + [f"bytes={100_000 * k}-" for k in range(1, 11)]


def test_a_later_call_continues_a_given_up_one(served: Served, tmp_path: Path) -> None:
    served.data, served.drop_after, served.statuses = DATA, [1_000_000], []
    served.claim_length = len(DATA)
    with pytest.raises(DataError, match=r"1 time in a row at 1\.0 MB"):
        download(served.url, tmp_path, retry=Retry(attempts=1, timeout_seconds=2.0))
    assert (tmp_path / "hmdb51_org.zip.part").stat().st_size == 1_000_000
    served.claim_length = None
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == DATA
    assert served.ranges == [None, "bytes=1000000-"]


def test_a_server_without_ranges_starts_anew(served: Served, tmp_path: Path) -> None:
    served.data, served.drop_after, served.honours_ranges = DATA, [2_000_000, 1_000_000, 2_500_000], False
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == DATA
    assert len(served.ranges) == 4


def test_a_server_without_ranges_that_always_breaks_is_given_up(served: Served, tmp_path: Path) -> None:
    served.data, served.drop_after, served.honours_ranges = DATA, [1_000_000] * 50, False
    with pytest.raises(DataError, match="failed 4 times in a row"):
        download(served.url, tmp_path, retry=FAST)
    assert len(served.ranges) == 4


@pytest.mark.parametrize("checks_if_range", [True, False])
def test_a_changed_file_is_never_mixed(served: Served, tmp_path: Path, checks_if_range: bool) -> None:
    """Same size, other content; the second server ignores If-Range and sends its part all the same."""
    other = os.urandom(len(DATA))
    served.data, served.drop_after, served.checks_if_range = DATA, [1_000_000], checks_if_range
    served.change_on_request = {2: (other, '"v2"')}
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == other


def test_a_shrunken_file_starts_anew(served: Served, tmp_path: Path) -> None:
    served.data, served.drop_after, served.etag, served.checks_if_range = DATA, [2_000_000], "", False
    served.change_on_request = {2: (DATA[:500_000], "")}
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == DATA[:500_000]
    assert served.ranges == [None, "bytes=2000000-", None]


def test_a_weak_etag_gives_way_to_the_date(served: Served, tmp_path: Path) -> None:
    served.data, served.drop_after, served.etag = DATA, [1_000_000], 'W/"v1"'
    served.last_modified = "Mon, 03 Oct 2011 10:00:00 GMT"
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == DATA
    assert served.ranges == [None, "bytes=1000000-"]


def test_other_addresses_do_not_share_a_part(served: Served, tmp_path: Path) -> None:
    part, record = tmp_path / "hmdb51_org.zip.part", tmp_path / "hmdb51_org.zip.source.json"
    part.write_bytes(b"of another file")
    fields = {"url": "http://example.org/x.zip", "etag": '"v1"', "last_modified": "", "total_bytes": len(DATA)}
    for text in (json.dumps(fields), "no JSON", '{"url": 1}'):
        part.write_bytes(b"of another file")
        record.write_text(text)
        served.data = DATA
        path = download(served.url, tmp_path, retry=FAST)
        assert path.read_bytes() == DATA
        path.unlink()


def test_a_part_that_is_complete_needs_no_request(served: Served, tmp_path: Path) -> None:
    served.data = DATA
    path = download(served.url, tmp_path, retry=FAST)
    path.rename(tmp_path / "hmdb51_org.zip.part")
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == DATA
    assert len(served.ranges) == 1


@pytest.mark.parametrize("status", [404, 403, 410])
def test_refusals_are_final(served: Served, tmp_path: Path, status: int) -> None:
    served.statuses = [status] * 9
    with pytest.raises(DataError, match=f"HTTP {status} .*check the address"):
        download(served.url, tmp_path, retry=FAST)
    assert len(served.ranges) == 1


def test_server_errors_pass(served: Served, tmp_path: Path) -> None:
    served.data, served.statuses = DATA, [500, 503, 429]
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == DATA


def test_server_errors_that_stay_are_given_up(served: Served, tmp_path: Path) -> None:
    served.statuses = [500] * 9
    with pytest.raises(DataError, match=r"failed 4 times in a row at 0\.0 MB: HTTP 500"):
        download(served.url, tmp_path, retry=FAST)
    assert len(served.ranges) == 4


def test_a_content_length_that_is_too_large(served: Served, tmp_path: Path) -> None:
    served.data, served.claim_length, served.honours_ranges = DATA, len(DATA) + 5, False
    with pytest.raises(DataError, match="promised 3000005 bytes and closed after 3000000"):
        download(served.url, tmp_path, retry=FAST)
    assert not (tmp_path / "hmdb51_org.zip").exists()


def test_a_content_length_that_is_too_small_is_found_by_the_archive(served: Served, tmp_path: Path) -> None:
    served.data = make_zip(tmp_path / "a.zip", {"walk/a.avi": DATA}).read_bytes()
    served.claim_length = 1_000_000
    with pytest.raises(DataError, match="damaged ZIP"):
        fetch(served.url, tmp_path / "data" / "videos", retry=FAST)


def test_what_the_disk_cannot_hold_is_not_downloaded(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole file at first; after a break the rest of it."""
    served.data, served.claim_length = DATA, len(DATA)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("preprocess.fetch.download.shutil.disk_usage", lambda _: usage._replace(free=2_000_000))
    with pytest.raises(DataError, match="has 3 MB, 0 of them here, and 2 MB are free"):
        download(served.url, tmp_path, retry=FAST)
    (tmp_path / "hmdb51_org.zip.part").write_bytes(DATA[:1_000_000])
    served.claim_length = None
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == DATA
    assert served.ranges == [None, "bytes=1000000-"]


def test_a_server_that_says_no_length(served: Served, tmp_path: Path) -> None:
    served.data, served.sends_length = DATA, False
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == DATA


def test_a_stalled_connection_times_out(served: Served, tmp_path: Path) -> None:
    served.data, served.drop_after, served.stalls = DATA, [1_000_000], True
    retry = Retry(attempts=1, timeout_seconds=0.2)
    with pytest.raises(DataError, match="timed out"):
        download(served.url, tmp_path, retry=retry)
    assert (tmp_path / "hmdb51_org.zip.part").stat().st_size == 1_000_000


def test_no_server_at_all(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match="Connection refused"):
        download(f"http://127.0.0.1:{port}/a.zip", tmp_path, retry=FAST)


def test_redirects_stay_with_http(served: Served, tmp_path: Path) -> None:
    served.redirect_to = "ftp://127.0.0.1/a.zip"
    with pytest.raises(DataError, match="redirects to ftp"):
        download(served.url, tmp_path, retry=FAST)


def test_a_foreign_file_is_not_overwritten(served: Served, tmp_path: Path) -> None:
    (tmp_path / "hmdb51_org.zip").write_bytes(b"mine")
    with pytest.raises(DataError, match="exists already"):
        download(served.url, tmp_path, retry=FAST)
    assert (tmp_path / "hmdb51_org.zip").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a/hmdb51_org.rar?download=1", "hmdb51_org.rar"),
        ("https://h/", "hmdb51-archive"),
        ("https://h/a/..", "hmdb51-archive"),
        ("https://h/%2e%2e%2fevil.rar", "evil.rar"),
        ("https://h/.bashrc", "hmdb51-archive"),
    ],
)
def test_names_of_downloads(url: str, name: str) -> None:
    assert archive_name(url) == name


@pytest.mark.parametrize(
    "url", ["ftp://h/a.rar", "file:///etc/passwd", "http:///a.rar", "https://user:word@h/a.rar", "http://[::1/a.rar"]
)
def test_unusable_addresses(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        fetch(url, tmp_path / "videos")


def test_fetch_over_http_with_checksum(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip_ids = list(official_splits())[:3]
    served.data = make_zip(tmp_path / "a.zip", {f"hmdb/{clip}.avi": clip.encode() for clip in clip_ids}).read_bytes()
    served.drop_after = [200]
    destination = tmp_path / "data" / "videos"
    digest = hashlib.sha256(served.data).hexdigest()
    summary = fetch(served.url, destination, sha256=digest.upper(), retry=FAST)
    assert files_below(destination) == {f"{clip}.avi": clip.encode() for clip in clip_ids}
    assert summary.archive == tmp_path / "data" / "hmdb51_org.zip"
    assert len(summary.missing_official) == 6766 - 3
    assert print_summary(summary) == 0
    printed = capsys.readouterr().out
    assert "3 of 6766 clips of HMDB51 are there" in printed
    assert f"6763 missing: {list(official_splits())[3]}" in printed
    with pytest.raises(DataError, match=f"has SHA-256 {digest}"):
        fetch(served.url, destination, sha256="0" * 64, retry=FAST)
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        fetch(served.url, destination, sha256="abc")


@needs_rar
def test_fetch_of_the_official_form_over_http(served: Served, tmp_path: Path) -> None:
    clip_ids = [clip for clip in official_splits() if clip.startswith(("walk/", "wave/"))]
    inner = {}
    for name in ("walk", "wave"):
        videos = {f"{clip}.avi": clip.encode() for clip in clip_ids if clip.startswith(name + "/")}
        inner[f"{name}.rar"] = make_rar(tmp_path / "inner.rar", videos).read_bytes()
    served.data, served.drop_after = make_rar(tmp_path / "a.rar", inner).read_bytes(), [5000, 5000]
    summary = fetch(served.url.replace(".zip", ".rar"), tmp_path / "videos", retry=FAST)
    assert files_below(tmp_path / "videos") == {f"{clip}.avi": clip.encode() for clip in clip_ids}
    assert len(summary.missing_official) == 6766 - len(clip_ids)


def test_a_half_extracted_folder_is_continued(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {f"walk/{index}.avi": bytes([index]) * 9 for index in range(9)})
    destination = tmp_path / "videos"
    fetch(str(archive), destination)
    (destination / "walk" / "3.avi").unlink()
    (destination / ".fetch-partial" / "1").mkdir(parents=True)
    (destination / ".fetch-partial" / "1" / "0.video").write_bytes(b"left by a killed run")
    summary = fetch(str(archive), destination)
    assert (summary.tally.num_written, summary.tally.num_kept) == (1, 8)
    assert sorted(path.name for path in destination.iterdir()) == ["walk"]


def test_synthetic_folders_are_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"walk/a.avi": b"A"})
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "synthetic.json").write_text("{}")
    with pytest.raises(DataError, match="synthetic videos"):
        fetch(str(archive), tmp_path / "videos")
    assert files_below(tmp_path / "videos") == {"synthetic.json": b"{}"}


def test_sources_that_are_no_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing at"):
        fetch(str(tmp_path / "none.rar"), tmp_path / "videos")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="is a file, not a folder"):
        fetch(str(make_zip(tmp_path / "a.zip", {"walk/a.avi": b"A"})), tmp_path / "file")


def test_failures_and_conflicts_are_printed_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = {"a/walk/x.avi": b"1", "b/walk/x.avi": b"2", "run.zip": b"broken", "y.avi": b"3", "z.txt": b"4"}
    summary = fetch(str(make_zip(tmp_path / "a.zip", members)), tmp_path / "videos")
    assert print_summary(summary) == 1
    printed = capsys.readouterr().out
    assert "1 video written, 0 there already, 1 other file left out (1 .txt)" in printed
    assert "kept (delete a file to fetch it again): walk/x.avi" in printed
    assert "without a class folder, left out: y.avi" in printed
    assert "1 unreadable, left out: run.zip" in printed
    assert "0 of 6766" in printed and "none of the videos bears a name of the official list" in printed


def test_two_fetches_do_not_mix(tmp_path: Path) -> None:
    import fcntl

    archive = make_zip(tmp_path / "a.zip", {"walk/a.avi": b"A"})
    (tmp_path / "videos").mkdir()
    handle = os.open(tmp_path / "videos", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(DataError, match="another process is fetching"):
        fetch(str(archive), tmp_path / "videos")
    os.close(handle)
    assert fetch(str(archive), tmp_path / "videos").tally.num_written == 1


PAGES = {
    b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>":
        'a web page \\("Google Drive - Virus scan warning"\\)',
    b"\xef\xbb\xbf\n <!-- a comment -->\n<HTML lang=de><title>\n Sign&nbsp;in \n</title>": 'a web page \\("Sign in"\\)',
    b"<?xml version='1.0'?><!doctype HTML PUBLIC>" + b" " * 9000: "a web page instead",
    b"<script>location='/consent'</script>": "a web page instead",
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream", ""])
def test_a_page_is_no_file(served: Served, tmp_path: Path, page: bytes, content_type: str) -> None:
    served.data, served.content_type = page, content_type
    with pytest.raises(DataError, match=f"{re.escape(served.url)} answers with {PAGES[page]}.*give its path"):
        download(served.url, tmp_path, retry=FAST)
    assert len(served.ranges) == 1
    assert [path.stat().st_size for path in tmp_path.iterdir()] in ([], [0])
    served.data, served.content_type = DATA, ""
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == DATA


def test_what_a_server_calls_html_is_looked_at(served: Served, tmp_path: Path) -> None:
    served.data, served.content_type = b"Quota exceeded", "text/html"
    with pytest.raises(DataError, match="answers with a web page"):
        download(served.url, tmp_path, retry=FAST)
    served.data = make_zip(tmp_path / "a.zip", {"walk/a.avi": DATA}).read_bytes()
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == served.data


def test_a_page_behind_a_redirect_is_named(served: Served, tmp_path: Path) -> None:
    served.redirect_to, served.data = "/page", b"<!doctype html><title>Consent</title>"
    with pytest.raises(DataError, match=r'/page answers with a web page \("Consent"\)'):
        download(served.url, tmp_path, retry=FAST)


def test_a_page_in_the_middle_costs_nothing(served: Served, tmp_path: Path) -> None:
    """The network asks for a login after a break: what was downloaded stays, and the next call continues."""
    served.data, served.drop_after, served.checks_if_range = DATA, [1_000_000], True
    served.change_on_request = {2: (b"<html><title>Hotel</title>" + b"-" * 5000, "")}
    with pytest.raises(DataError, match="Hotel"):
        download(served.url, tmp_path, retry=FAST)
    assert (tmp_path / "hmdb51_org.zip.part").stat().st_size == 1_000_000
    served.change_on_request = {3: (DATA, '"v1"')}
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == DATA
    assert served.ranges[2] == "bytes=1000000-"


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097])
def test_files_about_as_long_as_what_is_looked_at(served: Served, tmp_path: Path, size: int) -> None:
    served.data = DATA[:size]
    assert download(served.url, tmp_path, retry=FAST).read_bytes() == served.data
    other = tmp_path / "other"
    served.sends_length = False
    assert download(served.url, other, retry=FAST).read_bytes() == served.data
