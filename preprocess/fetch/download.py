"""Downloads one large file over HTTP: continues where a broken connection stopped, never mixes two versions."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from email.message import Message
from http.client import HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from preprocess.fetch.archives import kind_of
from preprocess.fetch.web_pages import HEAD_BYTES, is_web_page, page_name
from shared.checks import from_builtins, parse_json
from shared.errors import DataError, UsageError
from shared.files import write_text
from shared.terminal.console import counted, progress_in_megabytes, say

_CHUNK_BYTES = 1 << 18
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_WEAK = "W/"


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How patient a download is."""

    attempts: int = 6  # tries in a row that bring no new byte before it gives up
    first_wait_seconds: float = 1.0
    max_wait_seconds: float = 60.0
    timeout_seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """What a server says about a file, so that only bytes of one version are put together."""

    url: str
    etag: str  # empty where the server does not say
    last_modified: str  # empty where the server does not say
    total_bytes: int | None  # None where the server does not say

    @property
    def validator(self) -> str:
        """What If-Range may hold: a strong ETag, else the date (RFC 9110, 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith(_WEAK) else self.last_modified

    def may_continue(self, part: RemoteFile) -> bool:
        """Whether ``part``, from a 206 response, is of this version: such a response may leave headers out (15.3.7)."""
        pairs = ((self.etag, part.etag), (self.last_modified, part.last_modified), (self.total_bytes, part.total_bytes))
        return all(ours == theirs for ours, theirs in pairs if theirs not in ("", None))


class _Broken(Exception):  # noqa: N818 - an event to be tried again, not an error of the program
    """An attempt that failed in a way that the next one may not."""

    def __init__(self, reason: str, *, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class _HttpOnlyRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # the names are those of the class above
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """Follow redirects, but never from https to anything less."""
        allowed = ("https",) if urlsplit(req.full_url).scheme == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise DataError(
                f"{req.full_url} redirects to {newurl}, which is not {' or '.join(allowed)}; "
                "give that address if you trust it"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def archive_name(url: str) -> str:
    """The file name that a download gets: the last part of the address. Raises UsageError for unusable addresses."""
    try:
        parts = urlsplit(url)
    except ValueError as error:  # a half of the brackets of an IPv6 address
        raise UsageError(f"{url} is no http or https address") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url} is no http or https address")
    if parts.username is not None:
        raise UsageError("a user name in the address is not supported; download the file by hand and give its path")
    name = Path(unquote(parts.path)).name
    return name if name and not name.startswith(".") and name.isprintable() else "hmdb51-archive"


def download(url: str, folder: Path, *, retry: Retry | None = None) -> Path:
    """Bring ``url`` to ``folder/<its name>`` and return that path; TLS certificates are always verified.

    Bytes go to ``<name>.part``; ``<name>.source.json`` holds what the server said, so that a later call continues
    only the same version of the file. A file that is there in full is not downloaded again.
    Raises DataError where the server refuses, stays broken, or a file of that name is there already from elsewhere.
    """
    final = folder / archive_name(url)
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / f"{final.name}.source.json"
    if final.exists():
        _check_finished(url, final, record)
        say(f"{final} is downloaded already")
        return final
    with _locked(folder / f"{final.name}.part") as file:
        _download_with_retries(url, file, record, retry or Retry())
        os.fsync(file.fileno())
        (folder / f"{final.name}.part").rename(final)
    return final


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file, progress_in_megabytes(f"Checking {path.name}", path.stat().st_size) as advance:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()


def _check_finished(url: str, final: Path, record: Path) -> None:
    remote = _read_record(record)
    size = final.stat().st_size
    if remote is None or remote.url != url or remote.total_bytes not in (None, size):
        raise DataError(
            f"{final} exists already and was not downloaded from {url}; give its path as SOURCE, or move it away"
        )


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[IO[bytes]]:
    with part.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"another process is downloading {part}; wait for it or stop it") from error
        yield file


def _read_record(record: Path) -> RemoteFile | None:
    """What an earlier call noted; None where there is nothing usable."""
    try:
        return from_builtins(RemoteFile, parse_json(record.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None


def _download_with_retries(url: str, file: IO[bytes], record: Path, retry: Retry) -> None:
    """Try until the file is complete; give up after ``retry.attempts`` tries that brought nothing new."""
    furthest, failures = _size(file), 0
    while True:
        try:
            return _attempt(url, file, record, retry.timeout_seconds)
        except _Broken as broken:
            reached = _size(file)
            failures = 1 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if failures >= retry.attempts:
                raise DataError(
                    f"downloading {url} failed {counted(failures, 'time')} in a row at {reached / 1e6:.1f} MB: "
                    f"{broken}; what is there is kept, the same command continues"
                ) from broken
            wait = min(retry.max_wait_seconds, broken.wait_seconds or retry.first_wait_seconds * 2 ** (failures - 1))
            say(f"download stopped at {reached / 1e6:.1f} MB ({broken}); trying again in {wait:.0f} s", to=sys.stderr)
            time.sleep(wait)


def _size(file: IO[bytes]) -> int:
    file.flush()
    return os.fstat(file.fileno()).st_size


def _attempt(url: str, file: IO[bytes], record: Path, timeout_seconds: float) -> None:
    """One request: the rest of the file where that is safe, else all of it. Returns when the file is complete."""
    known = _read_record(record)
    have = _size(file)
    if known is None or known.url != url or (known.total_bytes is not None and have > known.total_bytes):
        known = None
        file.truncate(0)
        have = 0
    if known is not None and have and have == known.total_bytes:
        return
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "hmdb-prep"})
    if known is not None and have:
        request.add_header("Range", f"bytes={have}-")
        if known.validator:
            request.add_header("If-Range", known.validator)
    try:
        with _open(request, file, timeout_seconds) as response:
            remote, offset = _remote_file(url, response.status, response.headers)
            head = b""
            if response.status != 206:
                head = response.read(HEAD_BYTES)
                _refuse_web_page(response, head)  # before what is there is given up
                file.truncate(0)
                write_text(record, json.dumps(asdict(remote), indent=1) + "\n")
            elif known is None or offset != have or not known.may_continue(remote):
                file.truncate(0)
                raise _Broken("the file on the server has changed; starting anew")
            else:
                remote = known
            _check_disk(remote, record.parent, have=_size(file))
            _copy_body(response, head, file, remote)
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _Broken(str(error) or type(error).__name__) from error


def _open(request: urllib.request.Request, file: IO[bytes], timeout_seconds: float) -> http.client.HTTPResponse:
    """Send the request. Raises _Broken for what may pass, DataError for what will not."""
    opener = urllib.request.build_opener(_HttpOnlyRedirects())
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout_seconds)
        return response
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the range is beyond the file: what we have is not this file
            file.truncate(0)
            raise _Broken("the file on the server is shorter than what was downloaded; starting anew") from error
        if error.code in _RETRIED_STATUS:
            raise _Broken(f"HTTP {error.code} {error.reason}", wait_seconds=_retry_after(error.headers)) from error
        raise DataError(f"{request.full_url} answers HTTP {error.code} {error.reason}; check the address") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DataError(
                f"the TLS certificate of {request.host} is not trusted ({error.reason.verify_message}); "
                "nothing was downloaded"
            ) from error
        raise _Broken(str(error.reason)) from error


def _retry_after(headers: Message) -> float | None:
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _remote_file(url: str, status: int, headers: Message) -> tuple[RemoteFile, int]:
    """What the response says about the whole file, and at which byte its body begins."""
    length = headers.get("Content-Length", "")
    total, offset = (int(length) if length.isdecimal() else None), 0
    if status == 206:
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if match is None:
            raise DataError(
                f"{url} answers a range request without a usable Content-Range; "
                "download the file by hand and give its path"
            )
        offset, total = int(match[1]), None if match[2] == "*" else int(match[2])
    remote = RemoteFile(
        url=url, etag=headers.get("ETag", ""), last_modified=headers.get("Last-Modified", ""), total_bytes=total
    )
    return remote, offset


def _refuse_web_page(response: http.client.HTTPResponse, head: bytes) -> None:
    """Raise DataError for a page instead of a file: its first bytes tell, or its header where these say nothing."""
    is_called_html = response.headers.get_content_type() in ("text/html", "application/xhtml+xml")
    if is_web_page(head) or (is_called_html and kind_of(head) is None):
        dropbox = " (a Dropbox link gives the file with dl=1 at its end)" if "dropbox.com/" in response.url else ""
        raise DataError(
            f"{response.url} answers with {page_name(head)} instead of a file; open it in a browser, download the file "
            f"there and give its path, or give the address of the file itself{dropbox}"
        )


def _check_disk(remote: RemoteFile, folder: Path, *, have: int) -> None:
    """Refuse early where the disk cannot hold the rest of a file whose size the server says."""
    free = shutil.disk_usage(folder).free
    if remote.total_bytes is not None and remote.total_bytes - have > free:
        raise DataError(
            f"{archive_name(remote.url)} has {remote.total_bytes / 1e6:.0f} MB, {have / 1e6:.0f} of them here, and "
            f"{free / 1e6:.0f} MB are free in {folder}; make room, or name a destination on another disk"
        )


def _copy_body(response: http.client.HTTPResponse, head: bytes, file: IO[bytes], remote: RemoteFile) -> None:
    """Write the rest of a response after ``head``, what was read of it already."""
    have = _size(file)
    description = f"Downloading {archive_name(remote.url)}" + (f" from {have / 1e6:.0f} MB on" if have else "")
    with progress_in_megabytes(
        description, None if remote.total_bytes is None else remote.total_bytes - have
    ) as advance:
        while chunk := head or response.read1(_CHUNK_BYTES):
            head = b""
            file.write(chunk)
            advance(len(chunk))
    have = _size(file)
    if remote.total_bytes is not None and have != remote.total_bytes:
        if have > remote.total_bytes:
            file.truncate(0)
        raise _Broken(f"the server promised {remote.total_bytes} bytes and closed after {have}")
