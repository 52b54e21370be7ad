"""What the page's addresses answer, and to whom: this machine's browser and this page alone."""

from __future__ import annotations

import hmac
import itertools
import secrets
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import first_line
from train.serve.jobs import Jobs, Status
from train.serve.limits import MOST_MEGABYTES, MOST_WAITING
from train.serve.page import serve_page
from train.serve.uploads import file_name

Pieces = AsyncGenerator[bytes, None]

_TOKEN_HEADER = "x-lsvit-token"
_HOSTS = ("127.0.0.1", "localhost")
_MOST_BYTES = MOST_MEGABYTES * 1_000_000
_LONGEST_NAME = 200
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


def make_app(jobs: Jobs, folder: Path, *, class_names: Sequence[str], origin: str, notes: Sequence[str]) -> Starlette:
    """The application. folder: where uploads go. class_names, origin, notes: what the page says of the model.

    Another page in the same browser can neither read nor send anything: the address that it is asked by has to be this
    machine's (a name that is made to point here, DNS rebinding, is refused), and what is sent has to bear a token that
    only this page knows.
    """
    token = secrets.token_urlsafe(32)
    page = serve_page(token=token, class_names=class_names, origin=origin, notes=notes)
    numbers = itertools.count()

    async def show(request: Request) -> Response:
        return HTMLResponse(page)

    async def receive(request: Request) -> Response:
        pieces = request.stream()
        try:
            _check_sender(request, token)
            label = _label(request, class_names)
            name = request.query_params.get("name", "")[:_LONGEST_NAME] or "video"
            video = folder / file_name(name, next(numbers))
            await _take_in(request, pieces, video, jobs)
        except HTTPException:
            await _drain(pieces)
            raise
        return JSONResponse({"number": jobs.add(video, name=name, label=label)}, status_code=202)

    async def look(request: Request) -> Response:
        status = jobs.look(request.path_params["number"])
        return JSONResponse(_content(status)) if status is not None else _forgotten()

    async def explain(request: Request) -> Response:
        status = jobs.look(request.path_params["number"])
        return HTMLResponse(status.answer.page) if status is not None and status.answer is not None else _forgotten()

    return Starlette(
        routes=[
            Route("/", show),
            Route("/videos", receive, methods=["POST"]),
            Route("/videos/{number}", look),
            Route("/videos/{number}/explanation", explain),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(_HOSTS), www_redirect=False),
            Middleware(_Guard),
        ],
        exception_handlers={HTTPException: _say, ClientDisconnect: _leave},
    )


async def _take_in(request: Request, pieces: Pieces, video: Path, jobs: Jobs) -> None:
    """Write the video that a request brings to a file, where the queue has a place; nothing is left of one that fails.

    Raises HTTPException.
    """
    if not jobs.reserve():
        raise HTTPException(503, f"{MOST_WAITING} videos are waiting already; try again when one of them is answered")
    try:
        await _store(request, pieces, video)
    except BaseException:
        video.unlink(missing_ok=True)
        raise
    finally:
        jobs.release()


async def _drain(pieces: Pieces) -> None:
    """Read what else a refused request brings: a browser that is cut off while it sends never reads the reason."""
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > _MOST_BYTES:
            return


async def _store(request: Request, pieces: Pieces, video: Path) -> None:
    """Write the body of a request to a file. Raises HTTPException where it is empty, or larger than may be."""
    if int(request.headers.get("content-length") or 0) > _MOST_BYTES:
        raise _too_large()
    size = 0
    try:
        with video.open("xb") as file:
            async for piece in pieces:
                size += len(piece)
                if size > _MOST_BYTES:
                    raise _too_large()
                file.write(piece)
    except OSError as error:
        raise HTTPException(507, f"the video cannot be kept: {first_line(error)}; make room on the disk") from error
    if not size:
        raise HTTPException(400, "the file is empty (0 bytes); choose a video")


def _too_large() -> HTTPException:
    return HTTPException(413, f"the file is larger than {MOST_MEGABYTES} MB; cut the video, or make it smaller")


def _check_sender(request: Request, token: str) -> None:
    """Raise HTTPException where a request does not come from our page: others cannot set this header, nor know it."""
    given = request.headers.get(_TOKEN_HEADER, "")
    origin = request.headers.get("origin")
    is_ours = origin is None or origin == f"http://{request.headers.get('host')}"
    if not is_ours or not hmac.compare_digest(given.encode(), token.encode()):
        raise HTTPException(403, "this page is of an earlier start of the program; reload it")


def _label(request: Request, class_names: Sequence[str]) -> int | None:
    action = request.query_params.get("action", "")
    if not action:
        return None
    if action not in class_names:
        raise HTTPException(400, "this model does not know that action; reload the page")
    return class_names.index(action)


def _content(status: Status) -> dict[str, object]:
    predictions = status.answer.predictions if status.answer is not None else ()
    return {
        "state": status.state,
        "position": status.position,
        "error": status.error,
        "predictions": [{"action": action, "probability": probability} for action, probability in predictions],
    }


def _refused(code: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=code)


def _forgotten() -> Response:
    return _refused(404, "this answer is no longer kept; give the video again")


async def _say(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _refused(error.status_code, error.detail)


async def _leave(request: Request, error: Exception) -> Response:
    return _refused(400, "the video did not arrive whole; give it again")


class _Guard:
    """Headers by which a browser keeps the pages to itself: not in frames of others, nothing kept, no address sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_guarded)
