"""Shards that mean harm: links and storage in other files, sizes and heaps without end."""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from made_shards import LAYOUT, change, record, write_shard

from shared.errors import DataError
from shared.shards.format import crc32_of, shard_name
from shared.shards.reader import ShardReader
from shared.shards.writer import PendingShard


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
    with pytest.raises(DataError, match=r"manifest is object \(10{15},\), expected object \(3,\)"):
        ShardReader(shard)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), np.zeros(3), "x", -1])
def test_layouts_that_are_no_numbers_are_refused(shard: Path, value: object) -> None:
    change(shard, lambda file: file.attrs.__setitem__("num_segments", value))
    with pytest.raises(DataError, match=r"damaged|do not fit together"):
        ShardReader(shard)


def heap_places(content: bytes) -> list[int]:
    return [place for place in range(len(content)) if content[place : place + 8] == b"GCOL\x01\0\0\0"]


def put(shard: Path, place: int, content: bytes) -> None:
    with shard.open("r+b") as file:
        file.seek(place)
        file.write(content)


def text_references(shard: Path) -> int:
    with h5py.File(shard) as file:
        return int(file["clip_id"].id.get_offset())


@pytest.mark.parametrize("length", [2**64 - 16, 2**64 - 9, 2**40, 4096 - 31])
def test_damaged_heaps_end(shard: Path, length: int) -> None:
    """HDF5 itself walks a heap whose object claims such a length, or whose free part is of none, without end."""
    content = shard.read_bytes()
    places = heap_places(content)
    assert len(places) == 2
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


def test_the_last_bytes_of_a_heap_are_checked(tmp_path: Path) -> None:
    path = write_shard(tmp_path / shard_name(0), [dataclasses.replace(record(0), manifest="m" * 4048)])
    place = heap_places(path.read_bytes())[-1]
    free = place + 4096 - 16
    assert path.read_bytes()[free : free + 16] == struct.pack("<QQ", 0, 16)
    put(path, free + 8, bytes(8))
    with pytest.raises(DataError, match=f"the free part of the heap at byte {place} is damaged"):
        ShardReader(path)


@pytest.mark.parametrize("size", [2**40, 15, 0])
def test_the_size_of_every_heap_is_checked(shard: Path, size: int) -> None:
    def edit(file: h5py.File) -> None:
        for name in ("dataset_id", "note"):  # each gets a heap of its own; nobody reads the last one
            file.attrs[name] = "d" * 5000

    change(shard, edit)
    content = shard.read_bytes()
    places = heap_places(content)
    assert len(places) == 4
    for place in places:
        shard.write_bytes(content)
        put(shard, place + 8, struct.pack("<Q", size))
        with pytest.raises(DataError, match=f"the heap at byte {place} is damaged"):
            ShardReader(shard)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"GCOM\x01\0\0\0" + struct.pack("<Q", 4096), "is damaged"),
        (b"GCOL\x02\0\0\0" + struct.pack("<Q", 4096), "is damaged"),
        (b"GCOL\x01\0\0\0" + struct.pack("<Q", 16), r"lacks object \d"),
    ],
)
def test_texts_come_from_heaps_only(shard: Path, header: bytes, message: str) -> None:
    place = heap_places(shard.read_bytes())[-1]
    put(shard, place, header)
    with pytest.raises(DataError, match=f"the heap at byte {place} {message}"):
        ShardReader(shard)


@pytest.mark.parametrize(
    ("before_end", "message"),
    [(16, "the heap at byte {} is damaged"), (15, "no heap at byte {}"), (-1, "no heap at byte {}")],
)
def test_texts_that_lie_at_the_end_of_the_file_are_refused(shard: Path, before_end: int, message: str) -> None:
    address = shard.stat().st_size - before_end
    put(shard, text_references(shard), struct.pack("<IQI", 1, address, 1))
    with pytest.raises(DataError, match=message.format(address)):
        ShardReader(shard)


def test_heaps_inside_heaps_take_no_more_memory_than_the_file(tmp_path: Path) -> None:
    """Two may claim half of it each; a third is one too many."""
    long = dataclasses.replace(record(0), manifest="m" * 20_000)
    path = write_shard(tmp_path / shard_name(0), [long, record(1), record(2)])
    size = path.stat().st_size // 2
    assert 2 * size == path.stat().st_size
    text = path.read_bytes().index(b"m" * 20_000)
    for index in range(3):
        put(path, text + 32 * index, struct.pack("<4sB3xQH6xQ", b"GCOL", 1, size, 1, size - 32))
        put(path, text_references(path) + 16 * index, struct.pack("<IQI", 4, text + 32 * index, 1))
    with pytest.raises(DataError, match=f"the heap at byte {text + 64} is damaged"):
        ShardReader(path)


@pytest.mark.parametrize(
    ("name", "num_bytes", "message"), [("frames", 1080, "is truncated"), ("clip_id", 48, "clip_id ends early")]
)
def test_a_shard_that_is_cut_while_it_is_opened(
    shard: Path, monkeypatch: pytest.MonkeyPatch, name: str, num_bytes: int, message: str
) -> None:
    """HDF5 compares the sizes of its data sets with that of the file only once."""
    with h5py.File(shard) as file:
        end = file[name].id.get_offset() + num_bytes
    open_file = h5py.File

    def open_and_cut(path: Path, *arguments: Any, **options: Any) -> h5py.File:
        file = open_file(path, *arguments, **options)
        os.truncate(path, end - 1)
        return file

    monkeypatch.setattr(h5py, "File", open_and_cut)
    with pytest.raises(DataError, match=message):
        ShardReader(shard)


@pytest.mark.parametrize(
    "options", [{"chunks": (3,), "dtype": h5py.string_dtype()}, {"dtype": h5py.ref_dtype}], ids=["chunks", "references"]
)
def test_texts_that_are_none_are_refused(shard: Path, options: dict[str, object]) -> None:
    def edit(file: h5py.File) -> None:
        del file["clip_id"]
        file.create_dataset("clip_id", shape=(3,), **options)

    change(shard, edit)
    with pytest.raises(DataError, match="clip_id does not hold texts in one piece"):
        ShardReader(shard)


def copy_of(shard: Path, name: str, *, address_bytes: int) -> Path:
    """The same shard as HDF5 lays it out without our wishes: the heap first and the frames last."""
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_sizes(address_bytes, 8)
    copy = shard.with_name(name)
    with h5py.File(shard) as old, h5py.File(h5py.h5f.create(bytes(copy), fcpl=creation)) as new:
        for key, value in old.attrs.items():
            new.attrs[key] = value
        for key in ("clip_id", "manifest", "label", "crc32", "frame_index", "frames"):
            old.copy(key, new)
    return copy


def test_addresses_of_four_bytes_are_refused(shard: Path) -> None:
    with pytest.raises(DataError, match="its addresses are not of 8 bytes"):
        ShardReader(copy_of(shard, "copy.h5", address_bytes=4))


def test_frames_may_lie_at_the_end_of_the_file(tmp_path: Path) -> None:
    path = copy_of(shard_of_false_heaps(tmp_path), "copy.h5", address_bytes=8)
    with h5py.File(path) as file:
        assert file["frames"].id.get_offset() + 360 == path.stat().st_size
    with ShardReader(path) as reader:
        assert reader.damaged_clips() == []


def shard_of_false_heaps(folder: Path) -> Path:
    frames = np.frombuffer(b"GCOL\x01\0\0\0" * 45, np.uint8).reshape(6, 4, 5, 3)
    path = folder / shard_name(0)
    with PendingShard(path, LAYOUT, capacity=1) as pending:
        pending.write_clip(0, frames)
        pending.complete([dataclasses.replace(record(0), crc32=crc32_of(frames), manifest="")])
        pending.publish()
    return path


def test_frames_may_look_like_a_heap(tmp_path: Path) -> None:
    with ShardReader(shard_of_false_heaps(tmp_path)) as reader:
        assert reader.frames.tobytes() == b"GCOL\x01\0\0\0" * 45
        assert (reader.clip_id, reader.manifest) == ((record(0).clip_id,), ("",))


@pytest.mark.parametrize("shape", [(), (3, 6, 4, 15), (3, 6, 4, 0, 3), (0, 6, 4, 5, 3)])
def test_frames_of_another_shape_are_refused(shard: Path, shape: tuple[int, ...]) -> None:
    def edit(file: h5py.File) -> None:
        del file["frames"]
        file.create_dataset("frames", data=np.zeros(shape, np.uint8))

    change(shard, edit)
    with pytest.raises(DataError, match=r"is no shard: its frames are .*; delete it|not uncompressed"):
        ShardReader(shard)


def test_a_link_to_a_pipe_is_no_shard(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "shard-00000.h5").symlink_to(tmp_path / "pipe")
    with pytest.raises(DataError, match="no shard at"):
        ShardReader(tmp_path / "shard-00000.h5")
