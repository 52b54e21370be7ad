"""What a server says of a file that is downloaded from it, and whether its answers are to be trusted."""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPMessage
from typing import IO
from urllib.parse import urlsplit

from preprocess.fetch.archives.kinds import kind_of
from preprocess.fetch.web_pages import is_web_page, page_name
from shared.errors import DataError

_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_WEAK = "W/"


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


class BrokenDownload(Exception):  # noqa: N818 - an event to be tried again, not an error of the program
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


def send(request: urllib.request.Request, file: IO[bytes], timeout_seconds: float) -> http.client.HTTPResponse:
    """The answer to a request. Raises BrokenDownload for what may pass, DataError for what will not.

    file: what is here of it already, emptied where the server's file is shorter.
    """
    opener = urllib.request.build_opener(_HttpOnlyRedirects())
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout_seconds)
        return response
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the range is beyond the file: what we have is not this file
            file.truncate(0)
            raise BrokenDownload("the file on the server is shorter than what was downloaded; starting anew") from error
        if error.code in _RETRIED_STATUS:
            raise BrokenDownload(
                f"HTTP {error.code} {error.reason}", wait_seconds=_retry_after(error.headers)
            ) from error
        raise DataError(f"{request.full_url} answers HTTP {error.code} {error.reason}; check the address") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DataError(
                f"the TLS certificate of {request.host} is not trusted ({error.reason.verify_message}); "
                "nothing was downloaded"
            ) from error
        raise BrokenDownload(str(error.reason)) from error


def _retry_after(headers: Message) -> float | None:
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def remote_file(url: str, status: int, headers: Message) -> tuple[RemoteFile, int]:
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


def refuse_web_page(response: http.client.HTTPResponse, head: bytes) -> None:
    """Raise DataError for a page instead of a file: its first bytes tell, or its header where these say nothing."""
    is_called_html = response.headers.get_content_type() in ("text/html", "application/xhtml+xml")
    if is_web_page(head) or (is_called_html and kind_of(head) is None):
        dropbox = " (a Dropbox link gives the file with dl=1 at its end)" if "dropbox.com/" in response.url else ""
        raise DataError(
            f"{response.url} answers with {page_name(head)} instead of a file; open it in a browser, download the file "
            f"there and give its path, or give the address of the file itself{dropbox}"
        )
