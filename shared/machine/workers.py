"""Processes that do jobs which may crash or hang: decoding, for one. Such a job costs its own process and no other.

They end with the process that started them, also where that one is killed while they hang.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, cast

from shared.errors import DataError
from shared.terminal.interrupts import begin, held, kept_from_children

Result = TypeVar("Result")
_MAX_FAILED_STARTS = 3
_JOIN_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 3600.0
_LONGEST_ADDRESS = 103  # bytes of a socket's path: 107 on Linux, 103 on macOS
_SOCKET_IN_FOLDER = len("/pymp-12345678/listener-12345678")
# On macOS a process that is forked when its libraries have started may crash: there each worker is a new interpreter.
START_METHOD: Literal["forkserver", "spawn"] = "spawn" if sys.platform == "darwin" else "forkserver"
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


@dataclass(frozen=True, kw_only=True)
class WorkerDied:
    """The outcome of a job whose process died."""

    exit_code: int
    """Negative for a signal."""

    @property
    def cause(self) -> str:
        """``SIGSEGV``, ``signal 40`` or ``exit code 1``."""
        if self.exit_code >= 0:
            return f"exit code {self.exit_code}"
        try:
            return signal.Signals(-self.exit_code).name
        except ValueError:
            return f"signal {-self.exit_code}"


@dataclass(frozen=True, kw_only=True)
class WorkerOverran:
    """The outcome of a job that took more than ``seconds`` and was ended."""

    seconds: float


@dataclass(eq=False)
class Ticket(Generic[Result]):
    """A submitted job, to be waited for with ``WorkerPool.wait``."""

    function: Callable[[Any], Result]
    argument: Any
    is_done: bool = False
    outcome: Result | WorkerDied | WorkerOverran | BaseException | None = None


@dataclass(eq=False)
class _Worker:
    process: ForkServerProcess | SpawnProcess
    connection: Connection
    is_ready: bool = False
    ticket: Ticket[Any] | None = None
    deadline: float = field(default=float("inf"))


def start_server(preload: Sequence[str]) -> None:
    """Start the server from which workers are forked: it imports the modules ``preload`` and runs nothing else.

    To be called early: the imports take seconds, in which this process can do others of its own. Does nothing where
    the server runs already, and on macOS. A plain fork is unsafe beside threads and CUDA, and a fresh interpreter for
    each replaced worker would cost seconds.
    """
    begin()  # of the server's socket a folder would be left
    with held(), _own_environment(), _short_temporary_folder():
        resource_tracker.ensure_running()  # not below: it lets its own process and this one receive signals again
        if START_METHOD == "forkserver":
            multiprocessing.get_context("forkserver").set_forkserver_preload(list(preload))
            with kept_from_children():
                forkserver.ensure_running()


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    """The processes started meanwhile compute with one thread each, unless the user has said otherwise.

    And they import nothing from the current folder: a user's own train.py there would be run in the place of `train`.
    """
    added = [name for name in ("OMP_NUM_THREADS", "PYTHONSAFEPATH") if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextlib.contextmanager
def _short_temporary_folder() -> Iterator[None]:
    """The folder of temporary files is meanwhile one whose path is short enough for the server's socket.

    Raises DataError where $TMPDIR is too long and no other folder can be written.
    """
    chosen = tempfile.gettempdir()
    longest = _LONGEST_ADDRESS - _SOCKET_IN_FOLDER
    if len(os.fsencode(chosen)) <= longest:
        yield
        return
    short = next((folder for folder in _SHORT_FOLDERS if os.access(folder, os.W_OK | os.X_OK)), None)
    if short is None:
        raise DataError(
            f"the folder of temporary files {chosen} has a path of {len(os.fsencode(chosen))} bytes, too long for the "
            f"sockets of worker processes; set TMPDIR to a folder of at most {longest}"
        )
    before, tempfile.tempdir = tempfile.tempdir, short
    try:
        yield
    finally:
        tempfile.tempdir = before


class WorkerPool:
    """``num_workers`` processes, which have the modules ``preload`` imported. Leaving it as a context ends them.

    timeout_seconds: for one job, from the moment at which a worker is given it. Jobs are begun in the order in which
    they are submitted, and may be waited for in any. Workers are given jobs while somebody submits or waits; what a
    job gives lies in memory until it is waited for.
    """

    def __init__(self, *, num_workers: int, timeout_seconds: float, preload: Sequence[str]) -> None:
        start_server(preload)
        spawns = START_METHOD == "spawn"
        self._context: ForkServerContext | SpawnContext = (
            multiprocessing.get_context("spawn") if spawns else multiprocessing.get_context("forkserver")
        )
        self._num_workers = num_workers
        self._timeout_seconds = timeout_seconds
        self._queue: deque[Ticket[Any]] = deque()
        self._workers: list[_Worker] = []
        self._failed_starts = 0

    def submit(self, function: Callable[[Any], Result], argument: object) -> Ticket[Result]:
        """Queue a job: a function and its one argument, both picklable, as the result must be.

        Arrays are NumPy's: a tensor of torch would be shared with the process that made it.
        """
        ticket = Ticket(function=function, argument=argument)
        self._queue.append(ticket)
        self._assign()
        return ticket

    def wait(self, ticket: Ticket[Result]) -> Result | WorkerDied | WorkerOverran:
        """Wait until a job is done, serving the others meanwhile.

        Raises what the job raised if that is an OSError, MemoryError or DataError; by any other error a worker dies.
        """
        while not ticket.is_done:
            self._step()
        if isinstance(ticket.outcome, BaseException):
            raise ticket.outcome
        return cast("Result | WorkerDied | WorkerOverran", ticket.outcome)

    def _step(self) -> None:
        self._assign()
        nearest = min((worker.deadline for worker in self._workers), default=float("inf"))
        timeout = min(max(0.0, nearest - time.monotonic()), _LONGEST_WAIT_SECONDS)  # the kernel takes no more
        ready = set(wait([worker.connection for worker in self._workers], timeout))
        for worker in list(self._workers):
            if worker.connection in ready:
                self._receive(worker)
            elif worker.deadline <= time.monotonic():
                self._end(worker)
                self._settle(worker, WorkerOverran(seconds=self._timeout_seconds))

    def _assign(self) -> None:
        while len(self._workers) < min(self._num_workers, len(self._queue) + self._num_busy()):
            with held():  # else a process would wait for ever for what it shall do
                self._workers.append(self._start())
        for worker in self._workers:
            if self._queue and worker.is_ready and worker.ticket is None:
                ticket = self._queue[0]
                try:
                    worker.connection.send((ticket.function, ticket.argument))
                except OSError:
                    continue  # it died while idle: _receive will meet its end of file and replace it
                worker.ticket = self._queue.popleft()
                worker.deadline = time.monotonic() + self._timeout_seconds

    def _num_busy(self) -> int:
        return sum(worker.ticket is not None for worker in self._workers)

    def _start(self) -> _Worker:
        mine, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        with _own_environment(), kept_from_children():
            process.start()
        theirs.close()
        return _Worker(process=process, connection=mine)

    def _receive(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            exit_code = self._end(worker)
            self._note_start(worker, failed=not worker.is_ready)
            self._settle(worker, WorkerDied(exit_code=exit_code))
            return
        self._note_start(worker, failed=False)
        if worker.is_ready:
            self._settle(worker, message)
        worker.is_ready = True

    def _note_start(self, worker: _Worker, *, failed: bool) -> None:
        self._failed_starts = self._failed_starts + 1 if failed else 0
        if self._failed_starts >= _MAX_FAILED_STARTS:
            raise DataError(
                f"worker processes end with exit code {worker.process.exitcode} before they start; "
                'run `hmdb-prep doctor`; a script of your own starts them below `if __name__ == "__main__":`'
            )

    def _settle(self, worker: _Worker, outcome: object) -> None:
        if worker.ticket is not None:
            worker.ticket.outcome = cast(Any, outcome)
            worker.ticket.is_done = True
        worker.ticket = None
        worker.deadline = float("inf")

    def _end(self, worker: _Worker) -> int:
        """Kill a worker, wherever it is, and return its exit code."""
        self._workers.remove(worker)
        worker.process.join(timeout=0.1)  # a worker that died by itself keeps its own exit code
        worker.process.kill()
        worker.process.join(timeout=_JOIN_SECONDS)
        worker.connection.close()
        return worker.process.exitcode or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in list(self._workers):
            self._end(worker)


def _end_with_parent() -> None:
    """End this process, in the middle of whatever it does, once its parent is gone. FFmpeg's calls let threads run."""
    threading.Thread(target=_wait_for_end_of_parent, daemon=True).start()


def _wait_for_end_of_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _serve(connection: Connection) -> None:
    """What a worker does: say that it is there, then one job after the other until the parent is gone."""
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    outcome: object = None
    while True:
        try:
            connection.send(outcome)
            function, argument = connection.recv()
        except (EOFError, ConnectionError):  # the latter where it was killed before it read the last outcome
            return
        try:
            outcome = function(argument)
        except (OSError, MemoryError, DataError) as error:
            outcome = error
