"""Locks that are files: of threads and processes, also of other users; free again when who held them is dead.

While one is held, its file can hold a number for others to read.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from shared.errors import DataError
from shared.terminal.console import say
from shared.terminal.interrupts import is_interrupted

_PAUSE_SECONDS = 0.05
_PAUSES_BEFORE_A_WORD = 200  # ten seconds


@contextlib.contextmanager
def locked(path: Path, *, reason: str) -> Iterator[int]:
    """No other thread or process is here for the same file, which is open and empty.

    reason: what is waited for, in words. Without effect where the file system has no locks. Raises OSError where the
    file cannot be opened for writing.
    """
    descriptor = _open(path)
    try:
        pauses = pauses_for(reason)
        while not _is_taken(descriptor):
            next(pauses)
        try:
            os.ftruncate(descriptor, 0)  # what somebody wrote who was killed
            yield descriptor
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
            _give_back(descriptor)
    finally:
        os.close(descriptor)


def note(lock: int, number: int) -> None:
    """Write the number that others read as long as the lock is held. Raises OSError where the disk is full."""
    os.pwrite(lock, b"%d" % number, 0)


def noted(path: Path) -> int:
    """The number that the holder of a lock has noted; 0 where there is none, or nobody holds it and it is left over."""
    with contextlib.suppress(OSError), path.open("rb") as file:  # where the file system has no locks, or it is not ours
        if not path.stat().st_size:
            return 0
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read() or 0)
        _give_back(file.fileno())
    return 0


def pauses_for(what: str) -> Iterator[None]:
    """A short pause each time, so that others can open a file that they have just made; a word after ten seconds.

    Raises where this process was interrupted meanwhile: KeyboardInterrupt in its main thread, in others DataError.
    """
    for number in itertools.count(1):
        if is_interrupted():
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            raise DataError(f"interrupted while waiting for {what}")
        time.sleep(_PAUSE_SECONDS)
        if number == _PAUSES_BEFORE_A_WORD:
            say(f"waiting for {what}; Ctrl-C ends the wait, in a training twice", to=sys.stderr)
        yield


def _open(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDWR)  # some systems let nobody create what another user has in a shared folder
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, 0o666)  # other users lock it too
    return descriptor


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system has no locks
        return True
    return True


def _give_back(descriptor: int) -> None:
    """Unlock: closing is not enough where a forked process has the file open too."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
