"""Shards that mean harm: links and storage in other files, sizes and heaps without end."""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_shards import LAYOUT, change, record, shard, write_shard

from shared.errors import DataError
from shared.shards import PendingShard, ShardReader, crc32_of

__all__ = ["shard"]  # a fixture


def secret(folder: Path) -> Path:
    """A good shard in another folder."""
    records = [dataclasses.replace(record(row), clip_id=f"secret/{row}") for row in range(3)]
    (folder / "outside").mkdir()
    return write_shard(folder / "outside" / "secret.h5", records)


def to_link(name: str, file: h5py.File, outside: Path) -> None:
    del file[name]
    file[name] = h5py.ExternalLink(str(outside), name)


def to_virtual(name: str, file: h5py.File, outside: Path) -> None:
    shape, kind = file[name].shape, file[name].dtype
    del file[name]
    layout = h5py.VirtualLayout(shape=shape, dtype=kind)
    layout[...] = h5py.VirtualSource(str(outside), name, shape=shape)
    file.create_virtual_dataset(name, layout)


def to_external(name: str, file: h5py.File, outside: Path) -> None:
    shape, kind = file[name].shape, file[name].dtype
    del file[name]
    file.create_dataset(name, shape=shape, dtype=kind, external=[(str(outside), 0, 10**6)])


@pytest.mark.parametrize("name", ["frames", "label", "crc32", "frame_index", "clip_id", "manifest"])
@pytest.mark.parametrize("edit", [to_link, to_virtual, to_external])
def test_a_shard_never_reads_another_file(
    shard: Path, tmp_path: Path, edit: Callable[[str, h5py.File, Path], None], name: str
) -> None:
    if edit is to_external and name in ("clip_id", "manifest"):
        pytest.skip("HDF5 keeps no texts in external files")
    outside = secret(tmp_path)
    change(shard, lambda file: edit(name, file, outside))
    with pytest.raises(DataError, match=f"{name} is a link|{name} is kept in another file"):
        ShardReader(shard)


def test_a_soft_link_in_a_shard_is_refused(shard: Path) -> None:
    def edit(file: h5py.File) -> None:
        file.move("label", "other")
        file["label"] = h5py.SoftLink("/other")

    change(shard, edit)
    with pytest.raises(DataError, match="label is a link"):
        ShardReader(shard)


def test_a_shard_asks_for_no_more_memory_than_it_has_bytes(shard: Path) -> None:
    def edit(file: h5py.File) -> None:
        del file["manifest"]
        file.create_dataset("manifest", shape=(10**15,), dtype=h5py.string_dtype(), chunks=(64,))

    change(shard, edit)
    with pytest.raises(DataError, match="manifest is object"):
        ShardReader(shard)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), np.zeros(3), "x", -1])
def test_layouts_that_are_no_numbers_are_refused(shard: Path, value: object) -> None:
    change(shard, lambda file: file.attrs.__setitem__("num_segments", value))
    with pytest.raises(DataError, match=r"damaged|do not fit together"):
        ShardReader(shard)


@pytest.mark.parametrize("length", [2**64 - 16, 2**64 - 9, 2**40])
def test_damaged_heaps_end(shard: Path, length: int) -> None:
    """HDF5 itself walks a heap whose object claims such a length, or whose free part is of none, without end."""
    content = bytearray(shard.read_bytes())
    places = [place for place in range(0, len(content), 8) if content[place : place + 8] == b"GCOL\x01\0\0\0"]
    assert places
    for place in places:
        damaged = bytearray(content)
        damaged[place + 24 : place + 32] = struct.pack("<Q", length)  # of the first object
        shard.write_bytes(damaged)
        with pytest.raises(DataError, match="heap at byte"):
            ShardReader(shard)
        damaged = bytearray(content)
        damaged[place + 16 : place + 48] = bytes(32)
        shard.write_bytes(damaged)
        with pytest.raises(DataError, match="the free part of the heap at byte"):
            ShardReader(shard)


def test_frames_may_look_like_a_heap(tmp_path: Path) -> None:
    frames = np.frombuffer(b"GCOL\x01\0\0\0" * 45, np.uint8).reshape(6, 4, 5, 3)
    entry = dataclasses.replace(record(0), crc32=crc32_of(frames), manifest="")
    with PendingShard(tmp_path / "shard-00000.h5", LAYOUT, capacity=1) as pending:
        pending.write_clip(0, frames)
        pending.complete([entry])
        pending.publish()
    with ShardReader(tmp_path / "shard-00000.h5") as reader:
        assert np.array_equal(reader.frames[0], frames)
        assert (reader.clip_id, reader.manifest) == ((entry.clip_id,), ("",))


@pytest.mark.parametrize("shape", [(), (3, 6, 4, 15), (3, 6, 4, 0, 3), (0, 6, 4, 5, 3)])
def test_frames_of_another_shape_are_refused(shard: Path, shape: tuple[int, ...]) -> None:
    def edit(file: h5py.File) -> None:
        del file["frames"]
        file.create_dataset("frames", data=np.zeros(shape, np.uint8))

    change(shard, edit)
    with pytest.raises(DataError, match=r"is no shard: its frames are|not uncompressed"):
        ShardReader(shard)


def test_a_link_to_a_pipe_is_no_shard(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "shard-00000.h5").symlink_to(tmp_path / "pipe")
    with pytest.raises(DataError, match="no shard at"):
        ShardReader(tmp_path / "shard-00000.h5")
