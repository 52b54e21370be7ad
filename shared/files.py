"""Files that are written whole or not at all, and JSON files that name their format and its version."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import functools
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from shared.checks import parse_json
from shared.errors import DataError
from shared.terminal.interrupts import begin

_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{12}-.+", re.DOTALL)
_PIECE_BYTES = 1 << 20
_LONGEST_NAME = 200  # bytes of the final name that the temporary one repeats; file names end at 255
_STANDARD_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
_OPEN_FILES = ("/dev/fd", "/proc/self/fd")  # folders of the numbers of open files
_MOST_LINKS = 40  # that lead to each other, as Linux has it


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, of the same suffix, that becomes ``path`` when the block ends without an error.

    A reader sees the old file or the new one, never a part, whoever else writes it. The content is on the disk before
    the file gets its name. After an error nothing is left; what a killed process leaves, the next one removes.
    Where ``path`` is a link, what it points to is written. A pipe, a terminal and what else only passes bytes on, such
    as /dev/stdout, stays what it is and gets the content once it is whole. Raises DataError where a folder, a
    disk, a socket, a loop of links or a closed file is there, and where what passes bytes on takes them no more.
    """
    begin()
    _check_kind(path)
    if _passes_on(path):
        with _handed_over(path) as temporary:
            yield temporary
        return
    target = _target_of(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers_once(target.parent.absolute())
    temporary, descriptor = _create_temporary(target.with_name(path.name))
    try:
        yield temporary
        os.fsync(descriptor)
        temporary.rename(target)
        synchronise(target.parent)
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)


def check_target(path: Path) -> None:
    """Raise DataError where ``whole_file`` can write nothing to ``path``: to be asked before long work.

    That is where a folder, a disk, a socket or a loop of links is there, where it names an open file that is closed or
    only read, and where its folder is a file or may not be written to.
    """
    try:
        _check_kind(path)
        if not _passes_on(path):
            _check_folder(path, _target_of(path).parent)
    except OSError as error:  # such as a name that is too long
        raise DataError(f"{path} cannot be written ({error.strerror}); name another file") from error


def _check_kind(path: Path) -> None:
    """Raise DataError where what is at ``path`` takes no bytes."""
    number = _number_of(path)
    if number is not None:
        _check_open(path, number)
    elif not _passes_on(path):
        _target_of(path)


def _check_folder(path: Path, folder: Path) -> None:
    """Raise DataError where a file cannot be created in a folder that may have to be made."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists() or parent == parent.parent)
    if not existing.is_dir():
        raise DataError(f"{path} cannot be written: {existing} is a file and no folder; name another file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise DataError(f"{path} cannot be written: {existing} is closed to this user; name another file")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def synchronise(path: Path) -> None:
    """Have the system write a file or the names in a folder to the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of ``whole_file`` whose writers are gone; the locks of living ones tell."""
    for entry in folder.glob(".tmp-*"):
        if not _TEMPORARY.fullmatch(entry.name):
            continue
        with contextlib.suppress(OSError):  # in use, gone already, or not ours to remove
            descriptor = os.open(entry, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                entry.unlink()
            finally:
                os.close(descriptor)


def is_standard_output(path: Path) -> bool:
    """Whether a path names the standard output of this process, such as /dev/stdout."""
    return _number_of(path) == 1


def _number_of(path: Path) -> int | None:
    """The number of the open file of this process that a path such as /dev/fd/3 or /dev/stdout names; else None.

    A link to such a path names the same.
    """
    for _ in range(_MOST_LINKS):
        folder, name = os.path.realpath(path.parent), path.name
        if folder in map(os.path.realpath, _OPEN_FILES) and name.isascii() and name.isdigit():
            return int(name)
        if (number := _STANDARD_STREAMS.get(f"{folder}/{name}")) is not None:
            return number
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return None


def _check_open(path: Path, number: int) -> None:
    """Raise DataError where this process cannot write to its open file of a number."""
    try:
        access = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
    except (OSError, OverflowError) as error:
        raise DataError(f"{path} is no open file; name a file, or open it with `{number}> file`") from error
    if access == os.O_RDONLY:
        raise DataError(f"{path} is open for reading alone; name a file, or open it with `{number}> file`")


def _passes_on(path: Path) -> bool:
    """Whether a path is of something that only passes bytes on, or of an open file, whose place others share."""
    if _number_of(path) is not None:
        return True
    mode = path.stat().st_mode if path.exists() else 0
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


@contextmanager
def _handed_over(path: Path) -> Iterator[Path]:
    """A temporary file whose content is written to a pipe, a terminal or an open file when the block ends well."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / path.name
        yield temporary
        number = _number_of(path)
        sys.stdout.flush()  # what was said before stands before it
        try:
            opened = path.open("wb") if number is None else os.fdopen(os.dup(number), "wb")
            with opened as stream, temporary.open("rb") as content:
                shutil.copyfileobj(content, stream)
        except BrokenPipeError:  # the reader has seen enough
            raise
        except OSError as error:
            raise DataError(f"{path} cannot be written ({error.strerror}); name another file") from error


def _check_links(path: Path) -> None:
    """Raise DataError where links lead to each other without end: `exists` and `realpath` would not say so."""
    try:
        path.stat()
    except OSError as error:  # whatever else stands against it is said where it is written
        if error.errno == errno.ELOOP:
            raise DataError(f"{path} leads through a loop of links; name another file") from error


def _target_of(path: Path) -> Path:
    """What a rename may replace without harm: ``path``, or what it points to."""
    _check_links(path)
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "a disk or a socket"
        raise DataError(f"{path} is {what} and no file; name a file")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@functools.cache
def _remove_leftovers_once(folder: Path) -> None:
    """As above, once a process for each folder: listing a folder of many shards takes time."""
    remove_leftovers(folder)


def _create_temporary(path: Path) -> tuple[Path, int]:
    """An empty file beside ``path``, open and locked: the lock tells others that its writer is alive."""
    name = os.fsencode(path.name)[-_LONGEST_NAME:].decode(errors="ignore")
    while True:
        temporary = path.with_name(f".tmp-{secrets.token_hex(6)}-{name}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # taken for a leftover between its creation and its lock


def take_room(file: BinaryIO, offset: int, num_bytes: int) -> None:
    """Have the disk hold ``num_bytes`` of an open file from ``offset`` on. Raises OSError where it is too full."""
    if hasattr(os, "posix_fallocate"):  # macOS has none
        os.posix_fallocate(file.fileno(), offset, num_bytes)
        return
    file.seek(offset)
    for start in range(0, num_bytes, _PIECE_BYTES):
        file.write(bytes(min(_PIECE_BYTES, num_bytes - start)))
    file.flush()


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file whole: UTF-8, ``\\n``, floats in full precision; texts read back as they are, line ends too."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        for row in rows:  # a lone \r ends a line for those who read, and is quoted by later versions of Python only
            has_return = any(isinstance(cell, str) and "\r" in cell for cell in row)
            (quoting if has_return else writer).writerow(row)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole: UTF-8, line ends as they are."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of bytes whole."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def read_versioned_json(file: Path, *, kind: str, version: int, absent: str, remedy: str) -> dict[str, Any]:
    """What the file says, less ``format`` and ``version``.

    absent, remedy: what to do where there is no such file, or where it is damaged or of another kind; errors end with
    it. Raises DataError in these cases and for another version.
    """
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"no {file}; {absent}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is damaged ({error}); {remedy}") from error
    if not isinstance(content, dict) or content.pop("format", None) != kind:
        raise DataError(f"{file} is no {kind} file; {remedy}")
    found = content.pop("version", None)
    if found != version:
        raise DataError(f"{file} has version {found!r}, this program reads version {version}; make it again")
    return content
