"""The shard format: golden content, reading back, and every way a file can be wrong."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import hashlib
import os
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from made_shards import LAYOUT, change, clip_frames, record, write_shard

from shared.errors import DataError
from shared.shards.format import shard_name
from shared.shards.reader import ShardReader
from shared.shards.writer import PendingShard, remove_pending_shards


def test_plain_h5py_reads_what_the_format_promises(shard: Path) -> None:
    with h5py.File(shard) as file:
        assert dict(file.attrs) == {
            "format": "hmdb-clip-shard", "version": 1, "num_segments": 2, "frames_per_segment": 3,
            "height": 4, "width": 5, "dataset_id": "d" * 64,
        }  # fmt: skip
        types = {name: (data.dtype, data.shape) for name, data in file.items()}
        assert types["frames"] == (np.dtype("u1"), (3, 6, 4, 5, 3))
        assert types["frame_index"] == (np.dtype("<i4"), (3, 6))
        assert types["label"] == (np.dtype("<i2"), (3,))
        assert types["crc32"] == (np.dtype("<u4"), (3,))
        assert file["clip_id"].asstr()[:].tolist() == ["wäve/0", "wäve/1", "wäve/2"]
        assert h5py.check_string_dtype(file["manifest"].dtype).encoding == "utf-8"
        assert file["frames"].chunks is None
        assert file["frames"].compression is None
        for row in range(3):
            assert np.array_equal(file["frames"][row], clip_frames(row))
            assert zlib.crc32(file["frames"][row].tobytes()) == file["crc32"][row]


def test_golden_frames_bytes(shard: Path) -> None:
    """The frames lie in one piece at a page's start; their bytes are frozen."""
    with h5py.File(shard) as file:
        offset = file["frames"].id.get_offset()
    assert offset % 4096 == 0
    data = shard.read_bytes()[offset : offset + 3 * 6 * 4 * 5 * 3]
    assert hashlib.sha256(data).hexdigest() == GOLDEN_SHA256


GOLDEN_SHA256 = "2f5913bfd69cf055736da66ea8328db88745d3c4651e62d2919a91a45e91fa7d"


def test_the_reader_maps_the_same(shard: Path) -> None:
    with ShardReader(shard) as reader:
        assert reader.layout == LAYOUT
        assert reader.num_clips == 3
        assert isinstance(reader.frames, np.memmap)
        assert not reader.frames.flags.writeable
        assert np.array_equal(reader.frames[2], clip_frames(2))
        assert reader.frame_index.tolist() == [[seed + index for index in range(6)] for seed in range(3)]
        assert reader.clip_id == ("wäve/0", "wäve/1", "wäve/2")
        assert reader.label.tolist() == [0, 1, 2]
        assert reader.damaged_clips() == []


def test_small_data_sets_take_no_pages(shard: Path) -> None:
    """Only the frames and a heap of texts start on a page: with every object on one, a shard is twice this size."""
    assert shard.stat().st_size < 5 * 4096


@pytest.mark.parametrize("length", [0, 1, 4048, 4064, 4065, 70_000])
def test_texts_of_any_length_read_back(tmp_path: Path, length: int) -> None:
    """In HDF5's heap of 4096 bytes 4048 leaves 16, what its free part needs at least, and 4064 nothing."""
    texts = ("a", "m" * length, "ä")
    path = write_shard(
        tmp_path / shard_name(0), [dataclasses.replace(record(row), manifest=text) for row, text in enumerate(texts)]
    )
    with ShardReader(path) as reader:
        assert reader.manifest == texts


def test_texts_never_written_are_empty(shard: Path) -> None:
    def edit(file: h5py.File) -> None:
        del file["manifest"]
        file.create_dataset("manifest", shape=(3,), dtype=h5py.string_dtype())[1] = "m"

    change(shard, edit)
    with ShardReader(shard) as reader:
        assert reader.manifest == ("", "m", "")


def test_a_shard_knows_which_clip_stands_where(shard: Path) -> None:
    with ShardReader(shard) as reader:
        held = [[reader.holds(f"wäve/{seed}", row=row) for row in range(-3, 5)] for seed in range(4)]
    assert held == [[row == seed < 3 for row in range(-3, 5)] for seed in range(4)]


def test_quarantined_rows_are_closed_up(tmp_path: Path) -> None:
    path = write_shard(tmp_path / shard_name(7), [None, record(1), None, record(3)])
    with ShardReader(path) as reader:
        assert reader.clip_id == ("wäve/1", "wäve/3")
        assert np.array_equal(reader.frames[1], clip_frames(3))
        assert reader.damaged_clips() == []
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_shard_without_any_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a shard needs at least one clip"):
        write_shard(tmp_path / shard_name(0), [None, None])
    assert list(tmp_path.iterdir()) == []


def test_a_whole_shard_is_written_once(tmp_path: Path) -> None:
    """Closing up needs room for it twice."""
    with PendingShard(tmp_path / shard_name(0), LAYOUT, capacity=1) as shard:
        shard.write_clip(0, clip_frames(0))
        file = shard.temporary.stat().st_ino
        shard.complete([record(0)])
        assert shard.temporary.stat().st_ino == file


def test_a_file_system_that_writes_in_parts(tmp_path: Path, shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, position: write(file, data[:100], position))
    again = write_shard(tmp_path / shard_name(1), [record(0), record(1), record(2)])
    assert again.read_bytes() == shard.read_bytes()


@pytest.mark.skipif("HDF5_USE_FILE_LOCKING" in os.environ, reason="HDF5_USE_FILE_LOCKING decides about locks")
def test_locks_on_a_shard_hinder_nobody(tmp_path: Path) -> None:
    """HDF5 would refuse to open it, as it does on file systems without locks."""
    path = tmp_path / shard_name(0)
    with PendingShard(path, LAYOUT, capacity=1) as shard:
        temporary = shard.temporary  # of any other of this name too
    with temporary.open("w") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        write_shard(path, [record(0)])
        assert path.stat().st_ino == os.fstat(locked.fileno()).st_ino
        ShardReader(path).close()


def test_an_unfinished_shard_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), PendingShard(tmp_path / shard_name(0), LAYOUT, capacity=2):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_reads_back_differently_is_not_published(tmp_path: Path) -> None:
    with PendingShard(tmp_path / shard_name(0), LAYOUT, capacity=1) as shard:
        shard.write_clip(0, clip_frames(5))
        with pytest.raises(DataError, match="reads back differently"):
            shard.complete([record(4)])
    assert list(tmp_path.iterdir()) == []


def test_one_flipped_bit_is_found(shard: Path) -> None:
    with h5py.File(shard) as file:
        offset = file["frames"].id.get_offset()
    with shard.open("r+b") as stream:
        stream.seek(offset + 6 * 4 * 5 * 3 + 17)
        byte = stream.read(1)[0]
        stream.seek(-1, 1)
        stream.write(bytes([byte ^ 4]))
    with ShardReader(shard) as reader:
        assert reader.damaged_clips() == ["wäve/1"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "truncated|damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "damaged"),
        (lambda path: path.write_text("text"), "damaged"),
        (lambda path: path.unlink(), "no shard at"),
        (lambda path: (path.unlink(), path.mkdir()), "no shard at"),
        (
            lambda path: change(path, lambda file: file.attrs.__setitem__("version", 2)),
            "format version 2, this program reads version 1; use the program that wrote it, or extract",
        ),
        (lambda path: change(path, lambda file: file.attrs.__setitem__("format", "other")), "no hmdb-clip-shard"),
        (
            lambda path: change(path, lambda file: file.attrs.__setitem__("height", 8)),
            r"attributes and data sets do not fit together.*; delete it and run `hmdb-prep extract` again",
        ),
        (lambda path: change(path, lambda file: file.__delitem__("label")), "label"),
        (lambda path: change(path, lambda file: file.__delitem__("frames")), "frames"),
        (lambda path: change(path, to_group), "label is no data set"),
        (lambda path: change(path, to_halves), r"label is float16 \(3,\), expected int16 \(3,\)"),
        (lambda path: change(path, compress), "uncompressed"),
    ],
)
def test_damaged_files_are_refused(shard: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    damage(shard)
    with pytest.raises(DataError, match=message) as refused:
        ShardReader(shard)
    assert str(shard) in str(refused.value)


def to_group(file: h5py.File) -> None:
    del file["label"]
    file.create_group("label")


def to_halves(file: h5py.File) -> None:
    del file["label"]
    file["label"] = np.zeros(3, np.float16)


def compress(file: h5py.File) -> None:
    frames = file["frames"][:]
    del file["frames"]
    file.create_dataset("frames", data=frames, compression="lzf")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: os.utime(path, (0, 0)),
        lambda path: os.truncate(path, 100),
        lambda path: path.unlink(),
    ],
)
def test_a_shard_that_changes_under_its_reader_is_named(shard: Path, damage) -> None:  # type: ignore[no-untyped-def]
    with ShardReader(shard) as reader:
        reader.place.check_unchanged()
        damage(shard)
        with pytest.raises(DataError, match=r"shard-00000\.h5 was changed while it was being read"):
            reader.place.check_unchanged()


def test_the_same_clips_give_the_same_bytes(tmp_path: Path, shard: Path) -> None:
    time.sleep(1.1)  # HDF5 would note whole seconds
    again = write_shard(tmp_path / shard_name(1), [record(0), record(1), record(2)])
    assert again.read_bytes() == shard.read_bytes()


def test_a_shard_is_not_blamed_for_too_many_open_files(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more_files(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Unable to synchronously open file")

    monkeypatch.setattr(h5py, "File", no_more_files)
    with pytest.raises(DataError, match="cannot be read: Too many open files; when that is mended, run"):
        ShardReader(shard)


def test_what_killed_processes_left_is_removed_by_name(tmp_path: Path) -> None:
    mine, others = tmp_path / ".shard-00001.h5.node-7.tmp", [tmp_path / ".shard-00002.h5.node-8.tmp"]
    others += [tmp_path / "shard-00001.h5", tmp_path / ".mine.old.tmp"]
    for file in (mine, *others):
        file.touch()
    remove_pending_shards(tmp_path, name="shard-00001.h5")
    assert set(tmp_path.iterdir()) == set(others)
    remove_pending_shards(tmp_path)
    assert set(tmp_path.iterdir()) == set(others[1:])
