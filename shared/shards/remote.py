"""Copies of shards that lie at an address, such as s3://bucket/shards: whole ones, in a cache of bounded size.

Any address that fsspec can read will do. A copy is used like a shard of the disk; the copies used longest ago go first.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import stat
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from shared.errors import DataError, UsageError, first_line
from shared.files import remove_leftovers, whole_file
from shared.missing_packages import install_extra
from shared.shards.format import SHARD_NAMES
from shared.shards.locks import locked, note, noted, pauses_for
from shared.shards.places import RemoteShards

_FOLDER = "copies-{}"  # a name that nobody's own shards have: what does not fit into the cache any more is deleted
_LOCK = ".lock-"  # in front of the name of a shard: locked while its copy is looked for and made, which has its bytes
_WHOLE_LOCK = ".lock"  # of the whole cache
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def names_at(place: RemoteShards) -> frozenset[str]:
    """The names of the files there. Raises DataError where the address cannot be read, UsageError for unknown kinds."""
    system, root = _system(place.address)
    with _explained(place.address):
        return frozenset(str(path).rstrip("/").rpartition("/")[2] for path in system.ls(root, detail=False))


def copy_of(place: RemoteShards, name: str, *, dataset_id: str) -> Path:
    """The copy of a shard, made where it is not there yet. Others make room for it, also for other processes.

    It waits where copies that are being made take up the room. Raises DataError where the shard is not there or cannot
    be read, or the cache has no room for it.
    """
    file = _file_of(place, name, dataset_id)
    with _cache_explained(place):
        is_there = file.is_file()
    if not is_there:
        with _shard_lock(place, file) as lock:  # else several threads and processes would all copy it
            if not file.is_file():
                _copy(place, file, lock, keep=frozenset(), waits=True)
    _note_use(file)
    return file


def drop_copy(place: RemoteShards, file: Path) -> None:
    """Delete a copy that is no good, so that it is made again. Raises DataError where only its owner may delete it."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"the copy {file} is damaged or of another data set, and only its owner may delete it; name another cache "
            f"than {place.cache} with --shard-cache"
        ) from error


def copy_ahead(place: RemoteShards, name: str, *, dataset_id: str, keep: Collection[str]) -> None:
    """Make the copy of a shard that will be wanted, if there is room for it now.

    keep: shards whose copies stay or are still to be made: there has to be room beside them. Nothing is raised: what is
    wrong with a shard will be said when it is wanted.
    """
    with contextlib.suppress(DataError):
        file = _file_of(place, name, dataset_id)
        with _shard_lock(place, file) as lock:
            if file.is_file() or _copy(place, file, lock, keep=frozenset(map(file.with_name, keep)), waits=False):
                _note_use(file)


def _file_of(place: RemoteShards, name: str, dataset_id: str) -> Path:
    folder = place.cache / _FOLDER.format(hashlib.sha256(dataset_id.encode()).hexdigest()[:12])
    with _cache_explained(place):
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):  # another user was here first
                folder.chmod(stat.S_IMODE(place.cache.stat().st_mode))  # whoever may write into the cache may here too
    return folder / name


@contextlib.contextmanager
def _shard_lock(place: RemoteShards, file: Path) -> Iterator[int]:
    with (
        _cache_explained(place),
        locked(file.with_name(_LOCK + file.name), reason=f"others that copy {file.name}") as lock,
    ):
        yield lock


def _copy(place: RemoteShards, file: Path, lock: int, *, keep: frozenset[Path], waits: bool) -> bool:
    """Make a copy; where those that are being made leave no room for it, wait or return False.

    lock: the open file of its lock.
    """
    system, root = _system(place.address)
    source = f"{place.address}/{file.name}"
    with _explained(source):
        size = system.size(f"{root}/{file.name}")
    if not _reserve(place, lock, size or 0, keep=keep, waits=waits):
        return False
    with whole_file(file) as temporary:
        with _explained(source):
            system.get_file(f"{root}/{file.name}", str(temporary))
        found = temporary.stat().st_size
        if size is None and not _reserve(place, lock, found, keep=keep, waits=waits):  # servers need not say it before
            raise DataError(f"no room for {source}; it is made again when it is wanted")
        if size not in (None, found):
            raise DataError(f"{source} has {size} bytes, and {found} arrived; run the same command again")
    return True


def _reserve(place: RemoteShards, lock: int, size: int, *, keep: frozenset[Path], waits: bool) -> bool:
    """Take room for a copy, as long as its lock is held; where there is none at present, wait or return False."""
    pauses = pauses_for(f"room in {place.cache}, which copies that are being made take up")
    while True:
        with locked(place.cache / _WHOLE_LOCK, reason=f"others that make room in {place.cache}"):
            if _make_room(place, size, keep=keep):
                note(lock, size)  # from now on others count it
                return True
        if not waits:
            return False
        next(pauses)


def _make_room(place: RemoteShards, size: int, *, keep: frozenset[Path]) -> bool:
    """Delete the copies that were used longest ago, and are not to be kept, until one of ``size`` bytes fits.

    False, and nothing is deleted, where those that are being made take up the room. Raises DataError where there is too
    little even without them.
    """
    for folder in place.cache.glob(_FOLDER.format("*")):
        remove_leftovers(folder)
    being_made, copies = _being_made(place), _copies(place)  # in this order: what is made meanwhile is in both
    sizes = being_made | {copy: state.st_size for copy, state in copies.items()}
    kept = [sizes[other] for other in keep if other in sizes]
    needed = sum(kept) + size * (1 + len(keep) - len(kept))  # those still to be made are as large
    if needed > place.cache_bytes:
        raise DataError(
            f"a shard of {place} has {size / 1e9:.3g} GB, and the cache {place.cache} may hold "
            f"{place.cache_gb:.3g} GB; give it more with --shard-cache-gb"
        )
    if needed + sum(sizes[other] for other in being_made.keys() - copies.keys() - keep) > place.cache_bytes:
        return False
    left = sum(sizes.values())
    for copy in sorted(copies.keys() - keep, key=lambda copy: copies[copy].st_atime_ns):
        if left + size <= place.cache_bytes:
            break
        with contextlib.suppress(PermissionError):
            copy.unlink(missing_ok=True)
            left -= sizes[copy]
    if left + size > place.cache_bytes:
        raise DataError(
            f"the cache {place.cache} is full of copies that only another user may delete; give it more room with "
            "--shard-cache-gb, or name another with --shard-cache"
        )
    return True


def _copies(place: RemoteShards) -> dict[Path, os.stat_result]:
    """All complete copies in the cache."""
    found = {}
    for file in place.cache.glob(f"{_FOLDER.format('*')}/{SHARD_NAMES}"):
        with contextlib.suppress(FileNotFoundError):  # it was damaged, and has just been deleted
            found[file] = file.stat()
    return found


def _being_made(place: RemoteShards) -> dict[Path, int]:
    """The copies that threads and processes are making now, each with the bytes that it will have."""
    found = {}
    for path in place.cache.glob(f"{_FOLDER.format('*')}/{_LOCK}{SHARD_NAMES}"):
        if size := noted(path):
            found[path.with_name(path.name.removeprefix(_LOCK))] = size
    return found


def _note_use(file: Path) -> None:
    """Set the time of the last use, which many systems do not note by themselves; that of the change stays."""
    with contextlib.suppress(OSError):  # it is gone again, or of another user, or the disk is read-only
        os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))


@functools.cache
def _system(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path in it. Raises UsageError where there is none."""
    try:
        import fsspec

        system, root = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise UsageError(f"--shards {address}: {first_line(error)}; {install_extra('remote')}") from error
    except ValueError as error:
        raise UsageError(f"--shards {address}: {first_line(error)}; name a folder, or an address like s3://") from error
    return system, str(root).rstrip("/")


@contextlib.contextmanager
def _cache_explained(place: RemoteShards) -> Iterator[None]:
    """What goes wrong with the cache itself, in one line. Raises DataError."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise DataError(
                f"the disk of {place.cache} is full; free some, or name another with --shard-cache"
            ) from error
        raise DataError(
            f"no copies can be made in the cache {place.cache} ({first_line(error)}); name another with --shard-cache"
        ) from error


@contextlib.contextmanager
def _explained(source: str) -> Iterator[None]:
    """What goes wrong with an address, in one line. Raises DataError."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"there is nothing at {source}; name another folder or address with --shards") from error
    except Exception as error:  # fsspec's file systems raise what their libraries do: botocore, aiohttp, ...
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            raise  # it is the cache's
        raise DataError(
            f"{source} cannot be read ({type(error).__name__}: {first_line(error)}); when that is mended, run the "
            "same command again"
        ) from error
