"""Shards: HDF5 files of fixed-size clips, written once under a temporary name and renamed when complete.

Frames lie uncompressed and in one piece, so that a reader maps them into memory and a worker process writes its row
straight into the file.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
import numpy.typing as npt

from shared.errors import DataError
from shared.files import synchronise, take_room
from shared.shards.format import SHARD_FORMAT, SHARD_NAMES, SHARD_VERSION, ClipRecord, ShardLayout
from shared.shards.reader import ShardReader

_ALIGNMENT = 4096  # pages: mapped frames start on one
_ALIGNMENT_THRESHOLD = 1024  # bytes: smaller objects are not worth a page


@dataclass(frozen=True, kw_only=True)
class ClipPlace:
    """Where the frames of one clip go: a pending shard's file, and how many bytes from its beginning."""

    file: Path
    offset: int


def write_clip_frames(place: ClipPlace, frames: npt.NDArray[np.uint8]) -> None:
    """Write one clip's frames at their place. For worker processes: needs no HDF5."""
    data = np.ascontiguousarray(frames).reshape(-1).data
    position = place.offset
    descriptor = os.open(place.file, os.O_WRONLY)
    try:
        while data:
            written = os.pwrite(descriptor, data, position)
            data, position = data[written:], position + written
    finally:
        os.close(descriptor)


def remove_pending_shards(folder: Path, *, name: str = SHARD_NAMES) -> None:
    """Delete what killed processes left of the shard ``name``, or of all. The caller knows that nobody writes them.

    Unlike ``shared.files`` it asks no locks: other nodes of a cluster do not always see them, and a shard, which is
    written for minutes, would be taken for a leftover.
    """
    for file in folder.glob(f".{name}.*.tmp"):
        file.unlink(missing_ok=True)


class PendingShard:
    """A shard being written: room for ``capacity`` clips under a temporary name, until ``publish`` renames it.

    Other processes may write the frames, each clip at its ``place``. Use as a context manager: what is not published
    is removed. Raises OSError at once where the disk has no room for it.
    """

    def __init__(self, path: Path, layout: ShardLayout, *, capacity: int) -> None:
        self.path = path
        self.layout = layout
        self.capacity = capacity
        # Process numbers repeat from machine to machine, above all in containers.
        self.temporary = path.with_name(f".{path.name}.{os.uname().nodename}-{os.getpid()}.tmp")
        try:
            self.frames_offset = self._create()
        except BaseException:
            self.discard()
            raise

    def _create(self) -> int:
        layout = self.layout
        shape = (self.capacity, layout.num_rows, layout.height, layout.width, 3)
        with _open_new(self.temporary) as file:
            creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            creation.set_obj_track_times(False)  # the same clips give the same bytes
            space = h5py.h5s.create_simple(shape)
            frames = h5py.h5d.create(file.id, b"frames", h5py.h5t.STD_U8LE, space, creation)
            offset = int(frames.get_offset())
            attributes = {"format": SHARD_FORMAT, "version": SHARD_VERSION, **dataclasses.asdict(layout)}
            for name, value in attributes.items():
                file.attrs[name] = value
        with self.temporary.open("r+b") as raw:
            # Room for everything is taken now: a full disk is met here and not in the middle of a worker's row.
            take_room(raw, offset, self.capacity * layout.clip_bytes)
        return offset

    def place(self, row: int) -> ClipPlace:
        """Where the frames of clip ``row`` go."""
        return ClipPlace(file=self.temporary, offset=self.frames_offset + row * self.layout.clip_bytes)

    def write_clip(self, row: int, frames: npt.NDArray[np.uint8]) -> None:
        """Write the frames of clip ``row``."""
        write_clip_frames(self.place(row), frames)

    def complete(self, records: Sequence[ClipRecord | None]) -> None:
        """Add the records, of None where a clip is quarantined and its row is closed up, and have it all on the disk.

        Then every clip is read back. Raises DataError where its frames do not match its crc32.
        """
        kept = [row for row, record in enumerate(records) if record is not None]
        present = [record for record in records if record is not None]
        if not kept:
            raise ValueError("a shard needs at least one clip")
        if len(kept) < self.capacity:
            self._close_up(kept)
        self._write_records(present)
        synchronise(self.temporary)
        with ShardReader(self.temporary) as reader:
            problems = reader.damaged_clips()
        if problems:
            raise DataError(f"{self.path}: what was written reads back differently ({problems[0]}); check the disk")

    def publish(self) -> None:
        """Give the complete shard its final name. From then on it is never written again."""
        self.temporary.rename(self.path)
        synchronise(self.path.parent)

    def _close_up(self, kept: Sequence[int]) -> None:
        sparse, places = self.temporary, [self.place(row) for row in kept]
        try:
            self.temporary = sparse.with_suffix(".closed.tmp")
            self.capacity = len(kept)
            self.frames_offset = self._create()
            for row, old in enumerate(places):
                self.write_clip(row, np.memmap(sparse, np.uint8, "r", old.offset, (self.layout.clip_bytes,)))
        finally:
            sparse.unlink()

    def _write_records(self, records: Sequence[ClipRecord]) -> None:
        text = h5py.string_dtype("utf-8")
        with h5py.File(self.temporary, "r+", locking=False) as file:
            file["frame_index"] = np.stack([record.frame_index for record in records]).astype("<i4")
            file["label"] = np.array([record.label for record in records], dtype="<i2")
            file["crc32"] = np.array([record.crc32 for record in records], dtype="<u4")
            file.create_dataset("clip_id", data=[record.clip_id for record in records], dtype=text)
            file.create_dataset("manifest", data=[record.manifest for record in records], dtype=text)

    def discard(self) -> None:
        """Remove what was written under temporary names."""
        self.temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def _open_new(path: Path) -> h5py.File:
    # HDF5's own locks fail on network file systems without any; nobody else knows the temporary name.
    return h5py.File(path, "w", locking=False, alignment_threshold=_ALIGNMENT_THRESHOLD, alignment_interval=_ALIGNMENT)
