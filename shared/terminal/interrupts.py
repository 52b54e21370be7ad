"""Ctrl-C and SIGTERM: one line and exit code 130, whenever they come and however often.

A command passes through three stages. At first nothing is begun, and an interruption ends the process at once (see
startup). From ``begin`` on it raises KeyboardInterrupt, so that what was begun is tidied up; further ones do nothing
while that goes on. After ``end`` the process is about to leave, and they are ignored. Both give in after a while.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from shared.errors import DataError
from shared.terminal.startup import EXIT_INTERRUPTED, SIGNALS, end_now, ignore

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_PATIENCE_SECONDS = 5.0  # after which one more interruption ends the process, whatever it is about
_LATER_SECONDS = 0.05
_IMPORTING = "<frozen importlib"  # the file of the functions that import


class _State:
    """Of this process, as its signal handlers are."""

    held = 0  # blocks that must not be interrupted midway
    is_waiting = False  # whether an interruption waits for their end
    since: float | None = None  # when the first interruption came, or the end began
    note = ""


_state = _State()


def begin() -> None:
    """From now on an interruption raises KeyboardInterrupt in the main thread."""
    is_first = signal.getsignal(signal.SIGTERM) is end_now  # else done, or another program that uses this one
    if is_first and threading.current_thread() is threading.main_thread():  # others may not say what signals do
        sys.unraisablehook = _try_again
        signal.signal(signal.SIGALRM, receive)
        _install(receive)


def end() -> None:
    """From now on interruptions are ignored: the process has done all and is about to leave."""
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:  # as in another program that uses this one
        _state.since = time.monotonic()
        _install(_wait)
        if signal.getsignal(signal.SIGALRM) is receive:
            signal.setitimer(signal.ITIMER_REAL, 0)  # an interruption that was put off
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
        atexit.register(ignore)  # Python takes its handlers away before it is gone, and then a signal would kill


@contextlib.contextmanager
def held() -> Iterator[None]:
    """An interruption that comes meanwhile is raised at the end of the block."""
    _state.held += 1
    try:
        yield
    finally:
        _state.held -= 1
        if _state.is_waiting and not _state.held:
            _state.is_waiting = False
            _raise_once()


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Processes that are started meanwhile never receive SIGINT, which a terminal sends to all: not in their start."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def explained(note: Callable[[], str]) -> Iterator[None]:
    """Where the block is interrupted, the line that says so ends with a note: what was saved, and how to go on."""
    begin()
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(OSError, DataError):
            _state.note = _state.note or note()  # the innermost knows best
        raise


def is_interrupted() -> bool:
    """Whether an interruption has come: a thread that waits for others looks, as none is raised in it."""
    return _state.since is not None


def interrupted_line() -> str:
    """What an interrupted command says."""
    return f"interrupted: {_state.note}" if _state.note else "interrupted"


def receive(number: int, frame: FrameType | None) -> None:
    """The handler of the second stage: raises KeyboardInterrupt, but not in the middle of what cannot bear it."""
    if _state.since is None:
        _state.since = time.monotonic()
    is_late = time.monotonic() - _state.since > _PATIENCE_SECONDS
    if _is_tidying():
        if is_late and number != signal.SIGALRM:
            end_now(number, frame)
    elif _state.held:
        _state.is_waiting = True
    elif _is_importing(frame) and not is_late:  # modules in C may crash
        signal.setitimer(signal.ITIMER_REAL, _LATER_SECONDS)
    else:
        raise KeyboardInterrupt


def _raise_once() -> None:
    if not _is_tidying():
        raise KeyboardInterrupt


def _is_tidying() -> bool:
    """Whether the code that runs is there because of a KeyboardInterrupt: in a ``finally`` or an ``except``."""
    error = sys.exception()
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith(_IMPORTING):
        frame = frame.f_back
    return frame is not None


def _try_again(lost: UnraisableHookArgs) -> None:
    """Where Python could only drop a KeyboardInterrupt, as in a finaliser, let it come once more."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, _LATER_SECONDS)
    else:
        sys.__unraisablehook__(lost)


def _wait(number: int, frame: FrameType | None) -> None:
    if _state.since is not None and time.monotonic() - _state.since > _PATIENCE_SECONDS:
        os._exit(EXIT_INTERRUPTED)


def _install(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
