"""Serves a page on this machine: requests in a thread, videos answered one at a time in the main one."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from shared.errors import DataError, UsageError, first_line
from shared.machine.workers import WorkerPool, start_server
from shared.missing_packages import check_extra
from shared.terminal.console import say
from shared.terminal.interrupts import explained
from train.explain.command import origin_notes
from train.learn.processes import choose_device
from train.serve.answering import answer
from train.serve.jobs import Answer, Job, Jobs
from train.serve.limits import DECODING_SECONDS
from train.serve.uploads import upload_folder
from train.trained.folders import find_run, run_name
from train.trained.model import LoadedModel, load_model

if TYPE_CHECKING:
    from starlette.applications import Starlette

HOST = "127.0.0.1"
_PRELOAD = ("torchcodec.decoders", "train.serve.decoding")  # of the process that decodes
_EXTRA = ("starlette", "uvicorn")
_LOOK_SECONDS = 1.0
_CLOSING_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The options of the command."""

    runs: Path
    port: int
    """0 for any that is free."""
    device: str


def serve(run: str, options: ServeOptions) -> NoReturn:
    """Serve the page until Ctrl-C. Raises UsageError where the port is taken or the extra is missing."""
    check_extra("serve", _EXTRA, what="serve")
    folder = find_run(run, runs=options.runs)
    start_server(_PRELOAD)  # its imports go on while the model is read
    loaded = load_model(folder, device=choose_device(options.device))
    origin = f"{run_name(folder)}, {loaded.path.name}, epoch {loaded.epoch}"
    jobs = Jobs()
    pool = WorkerPool(num_workers=1, timeout_seconds=DECODING_SECONDS, preload=_PRELOAD)
    with explained(lambda: "the page is closed, and its videos are removed"), upload_folder() as uploads, pool:
        from train.serve.app import make_app

        notes = origin_notes(loaded)
        app = make_app(jobs, uploads, class_names=loaded.facts.class_names, origin=origin, notes=notes)
        with _listening(options.port) as listener, _answering_requests(app, listener) as requests:
            pool.submit(abs, 0)  # the first video need not wait for the start of the process that decodes it
            say(f"{origin}: open http://{HOST}:{listener.getsockname()[1]}/ in a browser; Ctrl-C ends it")
            while requests.is_alive():
                job = jobs.take(seconds=_LOOK_SECONDS)
                if job is not None:
                    jobs.finish(job, _answer_or_reason(loaded, pool, job, origin=origin))
    raise DataError("the page has stopped answering; start it again")


def _answer_or_reason(loaded: LoadedModel, pool: WorkerPool, job: Job, *, origin: str) -> Answer | str:
    """The answer, or what is wrong with the video: the page goes on. Its file is removed."""
    shape = dataclasses.replace(loaded.facts.shape, frames_per_segment=1)
    try:
        return answer(loaded, pool, job, shape=shape, origin=origin)
    except (DataError, OSError) as error:
        return first_line(error).replace(job.video.name, job.name)
    except MemoryError:
        return "there is not enough memory for this video; give a smaller one"
    finally:
        job.video.unlink(missing_ok=True)


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """A socket that only this machine reaches. Raises UsageError where the port cannot be had."""
    try:
        listener = socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "taken" if is_taken else f"not to be had ({first_line(error)})"
        raise UsageError(f"--port {port} is {reason}; give another one, or 0 for any that is free") from error
    with contextlib.closing(listener):
        yield listener


@contextmanager
def _answering_requests(app: Starlette, listener: socket.socket) -> Iterator[threading.Thread]:
    """The web server, in a thread, so that signals and the model stay with the main one."""
    import uvicorn

    config = uvicorn.Config(
        app, log_config=None, log_level="critical", lifespan="off", ws="none", server_header=False,
        limit_concurrency=64, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        server.should_exit = True
        thread.join(_CLOSING_SECONDS)
