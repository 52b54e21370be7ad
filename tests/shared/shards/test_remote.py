"""Shards at an address: copied once, in bounded room, by any number of threads; what goes wrong is one line."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from made_dataset import DATASET_ID, MadeDataset, make_dataset

from shared.errors import DataError, UsageError
from shared.shards.data_sets import check_present, open_shard
from shared.shards.locks import noted
from shared.shards.places import RemoteShards, shards_place
from shared.shards.reader import ShardReader
from shared.shards.remote import copy_ahead, copy_of, names_at

ADDRESS = "memory://bucket/shards"
NAMES = [f"shard-{index:05d}.h5" for index in range(6)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeDataset:
    return make_dataset(tmp_path_factory.mktemp("made"), clips_per_shard=4, height=8, width=8)


@pytest.fixture
def store(made: MadeDataset) -> Iterator[MemoryFileSystem]:
    memory = fsspec.filesystem("memory")
    memory.put(str(made.shards), "/bucket/", recursive=True)
    yield memory
    memory.rm("/bucket", recursive=True)


def place_in(cache: Path, *, num_bytes: int = 10**9, address: str = ADDRESS) -> RemoteShards:
    return RemoteShards(address=address, cache=cache, cache_gb=num_bytes / 1e9)


def copies(cache: Path) -> list[str]:
    return sorted(file.name for file in cache.glob("*/shard-*.h5"))


def copied(place: RemoteShards, name: str) -> Path:
    return copy_of(place, name, dataset_id=DATASET_ID)


def test_a_text_names_a_folder_or_an_address() -> None:
    assert shards_place("data/shards", cache=Path("c"), cache_gb=0) == Path("data/shards")
    assert shards_place("/data/s3:/x", cache=Path("c"), cache_gb=0) == Path("/data/s3:/x")
    found = shards_place("s3://bucket/shards/", cache=Path("c"), cache_gb=1.5)
    assert found == RemoteShards(address="s3://bucket/shards", cache=Path("c"), cache_gb=1.5)
    assert str(found) == "s3://bucket/shards"
    for none in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UsageError, match=f"--shard-cache-gb is {none:g}"):
            shards_place("s3://bucket/shards", cache=Path("c"), cache_gb=none)


def test_a_copy_is_the_shard_and_is_made_once(
    made: MadeDataset, store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_in(tmp_path)
    assert names_at(place) == frozenset(NAMES)
    file = copied(place, NAMES[0])
    assert file.read_bytes() == (made.shards / NAMES[0]).read_bytes()
    monkeypatch.setattr(MemoryFileSystem, "get_file", None)
    assert copied(place, NAMES[0]) == file


def test_the_cache_keeps_within_its_bound_and_loses_what_was_used_longest_ago(
    made: MadeDataset, store: MemoryFileSystem, tmp_path: Path
) -> None:
    size = max((made.shards / name).stat().st_size for name in NAMES)
    place = place_in(tmp_path, num_bytes=3 * size)
    for name in (*NAMES[:3], NAMES[0], NAMES[3]):  # 1 is the one that has not been used since
        copied(place, name)
        time.sleep(0.02)  # longer than the clock of files ticks
    assert copies(tmp_path) == [NAMES[0], NAMES[2], NAMES[3]]
    for name in NAMES:
        copied(place, name)
        assert sum(file.stat().st_size for file in tmp_path.rglob("*.h5")) <= 3 * size


def test_shards_of_ones_own_in_the_folder_of_the_cache_are_never_deleted(
    made: MadeDataset, store: MemoryFileSystem, tmp_path: Path
) -> None:
    mine = tmp_path / "shards" / NAMES[0]
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    os.utime(mine, (0, 0))
    size = max((made.shards / name).stat().st_size for name in NAMES)
    for name in NAMES:
        copied(place_in(tmp_path, num_bytes=size), name)
    assert mine.read_bytes() == b"mine"
    assert copies(tmp_path) == [NAMES[0], NAMES[-1]]


def test_a_shard_larger_than_the_cache_is_said(store: MemoryFileSystem, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"may hold 1e-07 GB; give it more with --shard-cache-gb"):
        copied(place_in(tmp_path, num_bytes=100), NAMES[0])


def test_threads_that_want_the_same_shard_copy_it_once(
    made: MadeDataset, store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []
    get_file = MemoryFileSystem.get_file

    def slow(self: MemoryFileSystem, remote: str, local: str) -> None:
        fetched.append(remote)
        time.sleep(0.05)
        get_file(self, remote, local)

    monkeypatch.setattr(MemoryFileSystem, "get_file", slow)
    with ThreadPoolExecutor(8) as pool:
        files = set(pool.map(lambda _: copied(place_in(tmp_path), NAMES[1]), range(8)))
    assert len(files) == len(fetched) == 1


def test_copies_that_are_being_made_are_within_the_bound(
    made: MadeDataset, store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all threads, of which each wants another shard: at no time are there more than fit."""
    size = max((made.shards / name).stat().st_size for name in NAMES)
    get_file, in_the_making = MemoryFileSystem.get_file, set[int]()
    most = 0

    def slow(self: MemoryFileSystem, remote: str, local: str) -> None:
        nonlocal most
        in_the_making.add(threading.get_ident())
        for _ in range(5):
            most = max(most, len(in_the_making) + len(copies(tmp_path)))
            time.sleep(0.01)
        get_file(self, remote, local)
        in_the_making.remove(threading.get_ident())

    monkeypatch.setattr(MemoryFileSystem, "get_file", slow)
    place = place_in(tmp_path, num_bytes=int(2.5 * size))
    with ThreadPoolExecutor(5) as pool:
        assert [file.name for file in pool.map(lambda name: copied(place, name), NAMES[:5])] == NAMES[:5]
    assert most == 2


def test_a_copy_of_another_process_takes_up_room_until_it_is_killed(
    made: MadeDataset, store: MemoryFileSystem, tmp_path: Path
) -> None:
    size = max((made.shards / name).stat().st_size for name in NAMES)
    place = place_in(tmp_path, num_bytes=int(1.5 * size))
    folder = copied(place, NAMES[0]).parent
    unfinished = folder / f".tmp-0123456789ab-{NAMES[1]}"
    with (folder / f".lock-{NAMES[1]}").open("w") as lock, unfinished.open("wb") as file:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.flock(file, fcntl.LOCK_EX)
        lock.write(str(size))
        lock.flush()
        copy_ahead(place, NAMES[2], dataset_id=DATASET_ID, keep=())  # does not wait, and nothing makes room
        assert copies(tmp_path) == [NAMES[0]] and unfinished.exists()
    assert copied(place, NAMES[2]).is_file()
    assert copies(tmp_path) == [NAMES[2]] and not unfinished.exists()


def in_a_thread(place: RemoteShards, name: str) -> Path:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copied, place, name).result()


def test_who_waits_for_room_says_so_and_ends_when_interrupted(
    store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *_ = sorted(names_at(place_in(tmp_path)))
    place = place_in(tmp_path, num_bytes=store.size(f"{ADDRESS}/{name}"))
    lock = tmp_path / "copies-000000000000" / ".lock-shard-00009.h5"
    lock.parent.mkdir()
    lock.write_text(str(place.cache_bytes))
    pauses: list[float] = []
    monkeypatch.setattr("shared.shards.locks.time.sleep", pauses.append)
    monkeypatch.setattr("shared.shards.locks.is_interrupted", lambda: len(pauses) > 300)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as one that copies
        with pytest.raises(DataError, match="interrupted while waiting for room"):
            in_a_thread(place, name)
        with pytest.raises(KeyboardInterrupt):
            copied(place, name)
        assert capsys.readouterr().err.count("waiting for room in") == 1
    monkeypatch.undo()
    assert copied(place, name).is_file()


def test_who_waits_in_vain_leaves_what_the_other_has_noted(
    store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *_ = sorted(names_at(place_in(tmp_path)))
    copied(place_in(tmp_path), name).unlink()
    (lock,) = tmp_path.rglob(f".lock-{name}")
    lock.write_text("7")
    monkeypatch.setattr("shared.shards.locks.is_interrupted", lambda: True)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as one that copies this shard
        with pytest.raises(DataError, match="interrupted while waiting for others that copy"):
            in_a_thread(place_in(tmp_path), name)
        assert lock.read_text() == "7"


def test_a_look_at_a_lock_is_over_though_a_process_was_forked_meanwhile(tmp_path: Path) -> None:
    """A fork shares the open file, as a duplicate does: a shared lock would last as long as the child."""
    lock, duplicates = tmp_path / ".lock", list[int]()
    lock.write_text("7")
    opened = io.open

    def open_twice(*words: Any, **options: Any) -> Any:
        file = opened(*words, **options)
        duplicates.append(os.dup(file.fileno()))
        return file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("io.open", open_twice)
        assert noted(lock) == 0
    assert len(duplicates) == 1
    with lock.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(duplicates[0])


def test_copies_of_other_users_are_used_and_never_deleted(
    made: MadeDataset, store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cache that others can only read as well: no lock is needed for a copy that is there."""
    place = place_in(tmp_path, num_bytes=(made.shards / NAMES[0]).stat().st_size * 3 // 2)
    copied(place, NAMES[0])

    def refused(*words: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.utime", refused)
    monkeypatch.setattr("os.unlink", refused)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.shards.remote.locked", refused)
        assert copied(place, NAMES[0]).is_file()
    with pytest.raises(DataError, match=r"is full of copies that only another user may delete; .*--shard-cache-gb"):
        copied(place, NAMES[1])


def test_who_may_write_into_the_cache_may_write_into_its_folders(store: MemoryFileSystem, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    assert copied(place_in(tmp_path), NAMES[0]).parent.stat().st_mode & 0o7777 == 0o1777


def test_a_damaged_copy_of_another_user_is_said(
    store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_in(tmp_path)
    copied(place, NAMES[0]).write_bytes(b"half")

    def refused(*words: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.unlink", refused)
    with pytest.raises(DataError, match=r"is damaged .* only its owner may delete it; name another cache"):
        open_shard(place, NAMES[0], named=NAMES, dataset_id=DATASET_ID)


def test_a_cache_that_cannot_be_one_is_said(store: MemoryFileSystem, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"in the cache .*file .*; name another with --shard-cache"):
        copied(place_in(tmp_path / "file"), NAMES[0])


def test_a_full_disk_is_said_of_the_cache(
    store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for what in ("os.pwrite", "fsspec.implementations.memory.MemoryFileSystem.get_file"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(what, full)
            with pytest.raises(DataError, match=f"the disk of {tmp_path} is full"):
                copied(place_in(tmp_path), NAMES[0])
    assert copies(tmp_path) == []


def test_the_bound_holds_though_a_server_does_not_say_sizes(
    made: MadeDataset, store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "size", lambda self, path: None)
    size = max((made.shards / name).stat().st_size for name in NAMES)
    place = place_in(tmp_path, num_bytes=int(2.5 * size))
    for name in NAMES:
        copied(place, name)
    assert len(copies(tmp_path)) == 2
    copy_ahead(place, NAMES[0], dataset_id=DATASET_ID, keep=NAMES[4:])
    assert copies(tmp_path) == NAMES[4:]
    with pytest.raises(DataError, match="give it more with --shard-cache-gb"):
        copied(place_in(tmp_path / "small", num_bytes=size // 2), NAMES[0])
    assert copies(tmp_path / "small") == []


def test_a_copy_stays_when_only_the_machine_could_not_open_it(
    store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(*words: object, **options: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("shared.shards.reader.h5py.File", too_many)
    with pytest.raises(DataError, match="cannot be read: Too many open files"):
        open_shard(place_in(tmp_path), NAMES[0], named=NAMES, dataset_id=DATASET_ID)
    assert copies(tmp_path) == [NAMES[0]]


def test_a_lock_is_given_back_though_a_forked_process_has_the_file_open(
    store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork shares the open file, as a duplicate does: its lock would last until the child closes it."""
    place, duplicates, opened = place_in(tmp_path), list[int](), os.open

    def open_twice(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = opened(path, flags, mode)
        if ".lock" in str(path):
            duplicates.append(os.dup(descriptor))
        return descriptor

    monkeypatch.setattr("shared.shards.locks.os.open", open_twice)
    name, *_ = sorted(names_at(place))
    copied(place, name)
    monkeypatch.setattr("shared.shards.locks.pauses_for", lambda what: iter(()))  # waiting would raise StopIteration
    copied(place, name).unlink()
    copied(place, name)
    assert all(file.stat().st_mode & 0o777 == 0o666 for file in tmp_path.rglob(".lock*"))
    for descriptor in duplicates:
        os.close(descriptor)


def test_a_copy_that_breaks_off_leaves_nothing(
    store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(self: MemoryFileSystem, remote: str, local: str) -> None:
        Path(local).write_bytes(self.cat_file(remote)[:1000])

    monkeypatch.setattr(MemoryFileSystem, "get_file", half)
    with pytest.raises(DataError, match=r"shard-00000.h5 has \d+ bytes, and 1000 arrived"):
        copied(place_in(tmp_path), NAMES[0])

    def lost(self: MemoryFileSystem, remote: str, local: str) -> None:
        raise RuntimeError("the endpoint\nis gone")

    monkeypatch.setattr(MemoryFileSystem, "get_file", lost)
    with pytest.raises(DataError, match=r"shards/shard-00000.h5 cannot be read \(RuntimeError: the endpoint\)"):
        copied(place_in(tmp_path), NAMES[0])
    assert copies(tmp_path) == []


def test_what_is_not_there_is_named(store: MemoryFileSystem, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is nothing at memory://bucket/other"):
        names_at(place_in(tmp_path, address="memory://bucket/other"))
    with pytest.raises(DataError, match=r"there is nothing at memory://bucket/shards/shard-00099\.h5"):
        copied(place_in(tmp_path), "shard-00099.h5")
    with pytest.raises(
        DataError, match=r"1 of the 2 shards that are needed are not at memory://bucket/shards, shard-9"
    ):
        check_present(place_in(tmp_path), [NAMES[0], "shard-9.h5"], named=NAMES, dataset_id=DATASET_ID)


def test_addresses_that_cannot_be_read_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"nowhere://x: Protocol not known: nowhere"):
        names_at(place_in(tmp_path, address="nowhere://x"))
    known = sys.modules["fsspec.registry"].known_implementations  # the package has a name of its own for it
    monkeypatch.setitem(known, "absent", {"class": "no_such_module.X", "err": "No X"})
    with pytest.raises(UsageError, match=r"No X; install the extra: pip install 'hmdb51-lsvit\[remote\]'"):
        names_at(place_in(tmp_path, address="absent://x"))


def test_shards_are_opened_as_those_of_a_folder(made: MadeDataset, store: MemoryFileSystem, tmp_path: Path) -> None:
    place = place_in(tmp_path)
    with (
        open_shard(place, NAMES[2], named=NAMES, dataset_id=DATASET_ID) as found,
        ShardReader(made.shards / NAMES[2]) as expected,
    ):
        assert np.array_equal(found.frames, expected.frames)


@pytest.mark.parametrize("is_back", [False, True])
def test_a_copy_that_has_to_make_room_before_it_is_opened_is_made_again(
    made: MadeDataset, store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_back: bool
) -> None:
    """As where threads want more shards at once than the cache has room for, and one of them has it copied again."""
    gone: list[Path] = []

    def opened(file: Path) -> ShardReader:
        if gone:
            return ShardReader(file)
        gone.append(file)
        file.unlink()
        try:
            return ShardReader(file)
        finally:
            if is_back:
                shutil.copyfile(made.shards / file.name, file)

    monkeypatch.setattr("shared.shards.data_sets.ShardReader", opened)
    with open_shard(place_in(tmp_path), NAMES[2], named=NAMES, dataset_id=DATASET_ID) as found:
        assert found.num_clips == 4
    assert len(gone) == 1


def test_a_copy_ahead_never_takes_the_room_of_shards_that_are_needed(
    made: MadeDataset, store: MemoryFileSystem, tmp_path: Path
) -> None:
    size = max((made.shards / name).stat().st_size for name in NAMES)
    place = place_in(tmp_path, num_bytes=3 * size)
    copied(place, NAMES[0])
    copy_ahead(place, NAMES[1], dataset_id=DATASET_ID, keep=NAMES[2:5])  # which are still to be copied
    assert copies(tmp_path) == NAMES[:1]
    copied(place, NAMES[2])
    copied(place, NAMES[3])
    copy_ahead(place, NAMES[4], dataset_id=DATASET_ID, keep=NAMES[2:4])
    assert copies(tmp_path) == NAMES[2:5]
    copy_ahead(place, "shard-00099.h5", dataset_id=DATASET_ID, keep=())  # whoever wants it will be told
    assert copies(tmp_path) == NAMES[2:5]


def test_damaged_and_foreign_shards_are_named_and_not_kept(store: MemoryFileSystem, tmp_path: Path) -> None:
    store.pipe_file(f"/bucket/shards/{NAMES[0]}", b"\0" * 5000)
    with pytest.raises(DataError, match=r"memory://bucket/shards/shard-00000\.h5 is damaged or no shard"):
        open_shard(place_in(tmp_path), NAMES[0], named=NAMES, dataset_id=DATASET_ID)
    with pytest.raises(
        DataError, match=r"shard-00001\.h5 is of another data set \(dddddddddddd; the manifests are of e"
    ):
        open_shard(place_in(tmp_path), NAMES[1], named=NAMES, dataset_id="e" * 64)
    assert copies(tmp_path) == []
