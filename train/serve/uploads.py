"""The folder in which uploaded videos lie until they are answered: gone with the program, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.terminal.interrupts import begin, held

_PREFIX = "lsvit-serve-"


@contextmanager
def upload_folder() -> Iterator[Path]:
    """A new folder that only this user can read, removed after the block. What killed programs have left goes first."""
    begin()
    place = Path(tempfile.gettempdir())
    remove_leftovers(place)
    with held():  # a folder whose name nobody knows would stay
        folder, descriptor = _create(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove_leftovers(place: Path) -> None:
    """Remove the folders of programs that are gone; the locks of living ones tell."""
    for folder in place.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # in use, gone already, or another user's
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            descriptor = _lock(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def _create(place: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        with contextlib.suppress(OSError):  # taken for a leftover between its creation and its lock
            descriptor = _lock(folder)
            if folder.is_dir():
                return folder, descriptor
            os.close(descriptor)


def _lock(folder: Path) -> int:
    """Lock a folder for as long as the descriptor is open. Raises OSError where another process has locked it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def file_name(name: str, number: int) -> str:
    """A name for an uploaded file: its own suffix, by which FFmpeg knows some formats, and nothing else of its name."""
    suffix = Path(name).suffix
    is_plain = suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= 8
    return f"{number}{suffix if is_plain else ''}"
