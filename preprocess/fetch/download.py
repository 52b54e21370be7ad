"""Downloads one large file over HTTP: continues where a broken connection stopped, never mixes two versions."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from preprocess.fetch.server import BrokenDownload, RemoteFile, refuse_web_page, remote_file, send
from preprocess.fetch.web_pages import HEAD_BYTES
from shared.checks import from_builtins, parse_json
from shared.errors import DataError, UsageError
from shared.files import write_text
from shared.terminal.console import counted, progress_in_megabytes, say

_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How patient a download is."""

    attempts: int = 6  # tries in a row that bring no new byte before it gives up
    first_wait_seconds: float = 1.0
    max_wait_seconds: float = 60.0
    timeout_seconds: float = 30.0


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
        except BrokenDownload as broken:
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
    try:
        with send(_request(url, known, have=have), file, timeout_seconds) as response:
            remote, offset = remote_file(url, response.status, response.headers)
            head = b""
            if response.status != 206:
                head = response.read(HEAD_BYTES)
                refuse_web_page(response, head)  # before what is there is given up
                file.truncate(0)
                write_text(record, json.dumps(asdict(remote), indent=1) + "\n")
            elif known is None or offset != have or not known.may_continue(remote):
                file.truncate(0)
                raise BrokenDownload("the file on the server has changed; starting anew")
            else:
                remote = known
            _check_disk(remote, record.parent, have=_size(file))
            _copy_body(response, head, file, remote)
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise BrokenDownload(str(error) or type(error).__name__) from error


def _request(url: str, known: RemoteFile | None, *, have: int) -> urllib.request.Request:
    """Ask for the file, or for what follows its first bytes where these are here."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "hmdb-prep"})
    if known is not None and have:
        request.add_header("Range", f"bytes={have}-")
        if known.validator:
            request.add_header("If-Range", known.validator)
    return request


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
        raise BrokenDownload(f"the server promised {remote.total_bytes} bytes and closed after {have}")
