"""Copies of shards that lie at an address, such as s3://bucket/shards: whole ones, in a cache of bounded size.

Any address that fsspec can read will do. A copy is used like a shard of the disk; the copies used longest ago go first.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from shared.errors import DataError, UsageError, first_line
from shared.files import whole_file
from shared.missing_packages import install_extra
from shared.shards.format import SHARD_NAMES
from shared.shards.places import RemoteShards

_FOLDER = "copies-{}"  # a name that nobody's own shards have: what does not fit into the cache any more is deleted
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def names_at(place: RemoteShards) -> frozenset[str]:
    """The names of the files there. Raises DataError where the address cannot be read, UsageError for unknown kinds."""
    system, root = _system(place.address)
    with _explained(place.address, place):
        return frozenset(str(path).rstrip("/").rpartition("/")[2] for path in system.ls(root, detail=False))


def copy_of(place: RemoteShards, name: str, *, dataset_id: str, keep: Collection[str] = ()) -> Path:
    """The copy of a shard, made where it is not there yet. Others make room for it, also for other processes.

    keep: shards whose copies stay or are still to be made; it is an error if there is no room beside them.
    Raises DataError where the shard is not there or cannot be read, or the cache has no room for it.
    """
    file = place.cache / _FOLDER.format(hashlib.sha256(dataset_id.encode()).hexdigest()[:12]) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with _alone(file):  # else several threads and processes would all copy it
        if not file.is_file():
            _copy(place, name, file, keep=frozenset(file.with_name(other) for other in keep))
    _note_use(file)
    return file


def copy_ahead(place: RemoteShards, name: str, *, dataset_id: str, keep: Collection[str]) -> None:
    """Make the copy of a shard that will be wanted, if there is room beside those of ``keep``.

    Nothing is raised: what is wrong with a shard will be said when it is wanted.
    """
    with contextlib.suppress(DataError, OSError):
        copy_of(place, name, dataset_id=dataset_id, keep=keep)


def _copy(place: RemoteShards, name: str, file: Path, *, keep: frozenset[Path]) -> None:
    system, root = _system(place.address)
    source = f"{place.address}/{name}"
    with _explained(source, place):
        size = system.size(f"{root}/{name}")
    _make_room(place, size or 0, keep=keep)
    with whole_file(file) as temporary:
        with _explained(source, place):
            system.get_file(f"{root}/{name}", str(temporary))
        found = temporary.stat().st_size
        if size is not None and found != size:
            raise DataError(f"{source} has {size} bytes, and {found} arrived; run the same command again")


def _make_room(place: RemoteShards, size: int, *, keep: frozenset[Path]) -> None:
    """Delete the copies that were used longest ago, and are not to be kept, until one of ``size`` bytes fits."""
    used: list[tuple[int, int, Path]] = []
    for file in place.cache.glob(f"{_FOLDER.format('*')}/{SHARD_NAMES}"):
        with contextlib.suppress(FileNotFoundError):  # another process makes room too
            state = file.stat()
            used.append((state.st_atime_ns, state.st_size, file))
    kept = [num_bytes for _, num_bytes, file in used if file in keep]
    if sum(kept) + size * (1 + len(keep) - len(kept)) > place.cache_bytes:  # those still to be made are as large
        raise DataError(
            f"a shard of {place} has {size / 1e9:.3g} GB, and the cache {place.cache} may hold "
            f"{place.cache_gb:.3g} GB; give it more with --shard-cache-gb"
        )
    left = sum(num_bytes for _, num_bytes, _ in used)
    for _, num_bytes, file in sorted(used):
        if left + size <= place.cache_bytes:
            return
        if file not in keep:
            file.unlink(missing_ok=True)
            left -= num_bytes


def _note_use(file: Path) -> None:
    """Set the time of the last use, which many systems do not note by themselves; that of the change stays."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """No other thread or process is here for the same file. Without effect where the file system has no locks."""
    descriptor = os.open(file.with_name(f".lock-{file.name}"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
def _explained(source: str, place: RemoteShards) -> Iterator[None]:
    """What goes wrong with an address, in one line. Raises DataError."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"there is nothing at {source}; name another folder or address with --shards") from error
    except Exception as error:  # fsspec's file systems raise what their libraries do: botocore, aiohttp, ...
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            raise DataError(
                f"the disk of {place.cache} is full; free some, or name another with --shard-cache"
            ) from error
        raise DataError(
            f"{source} cannot be read ({type(error).__name__}: {first_line(error)}); when that is mended, run the "
            "same command again"
        ) from error
