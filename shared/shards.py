"""Shards: HDF5 files of fixed-size clips, written once under a temporary name and renamed when complete.

The format is ``hmdb-clip-shard`` version 1, described with an example in docs/format.md. Frames lie uncompressed and in
one piece, so that a reader maps them into memory and a worker process writes its row straight into the file.
"""

from __future__ import annotations

import math
import os
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from shared.errors import DataError
from shared.shard_texts import check_heaps, read_texts

SHARD_FORMAT = "hmdb-clip-shard"
SHARD_VERSION = 1
MAX_FRAME_BYTES = 256 * 1000**2  # of the frames of one shard
_ALIGNMENT = 4096  # pages: mapped frames start on one
_ALIGNMENT_THRESHOLD = 1024  # bytes: smaller objects are not worth a page


@dataclass(frozen=True, kw_only=True)
class ShardLayout:
    """What all clips of a shard share. height and width in pixels; T segments of K frames."""

    num_segments: int
    frames_per_segment: int
    height: int
    width: int
    dataset_id: str

    @property
    def num_rows(self) -> int:
        """T·K, the stored frames of one clip."""
        return self.num_segments * self.frames_per_segment

    @property
    def clip_bytes(self) -> int:
        """Bytes of one clip's frames."""
        return self.num_rows * self.height * self.width * 3


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipRecord:
    """One clip's entry beside its frames. frame_index: int32 (T·K,); manifest: the clip's manifest row as JSON."""

    clip_id: str
    label: int
    frame_index: npt.NDArray[np.int32]
    crc32: int
    manifest: str


def shard_name(index: int) -> str:
    """``shard-00000.h5`` and so on."""
    return f"shard-{index:05d}.h5"


def crc32_of(frames: npt.NDArray[np.uint8]) -> int:
    """CRC-32 (zlib) of a clip's frames, uint8 (T·K, H, W, 3) in C order."""
    return zlib.crc32(np.ascontiguousarray(frames).reshape(-1).data)


class PendingShard:
    """A shard being written: room for ``capacity`` clips under a temporary name, until ``publish`` renames it.

    Rows may be written by other processes through ``write_clip``. Use as a context manager: what is not published is
    removed. Raises OSError at once where the disk has no room for it.
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
            for name, value in _root_attributes(layout):
                file.attrs[name] = value
        with self.temporary.open("r+b") as raw:
            # Room for everything is taken now: a full disk is met here and not in the middle of a worker's row.
            os.posix_fallocate(raw.fileno(), offset, self.capacity * layout.clip_bytes)
        return offset

    def write_clip(self, row: int, frames: npt.NDArray[np.uint8]) -> None:
        """Write the frames of clip ``row`` (see ``write_clip_frames``)."""
        write_clip_frames(self.temporary, self.frames_offset, row=row, frames=frames)

    def complete(self, records: Sequence[ClipRecord | None]) -> None:
        """Add the records and sync it all to disk. A record of None is a quarantined clip: its row is closed up.

        Then checks every clip's frames in the file against its crc32. Raises DataError where they differ.
        """
        kept = [row for row, record in enumerate(records) if record is not None]
        present = [record for record in records if record is not None]
        if not kept:
            raise ValueError("a shard needs at least one clip")
        if len(kept) < self.capacity:
            self._close_up(kept)
        self._write_records(present)
        _synchronise(self.temporary)
        with ShardReader(self.temporary) as reader:
            problems = reader.damaged_clips()
        if problems:
            raise DataError(f"{self.path}: what was written reads back differently ({problems[0]}); check the disk")

    def publish(self) -> None:
        """Give the complete shard its final name. From then on it is never written again."""
        self.temporary.rename(self.path)
        _synchronise(self.path.parent)

    def _close_up(self, kept: Sequence[int]) -> None:
        sparse, sparse_offset = self.temporary, self.frames_offset
        try:
            self.temporary = sparse.with_suffix(".closed.tmp")
            self.capacity = len(kept)
            self.frames_offset = self._create()
            for row, old_row in enumerate(kept):
                offset = sparse_offset + old_row * self.layout.clip_bytes
                self.write_clip(row, np.memmap(sparse, np.uint8, "r", offset, (self.layout.clip_bytes,)))
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


def write_clip_frames(file: Path, frames_offset: int, *, row: int, frames: npt.NDArray[np.uint8]) -> None:
    """Write one clip's frames at its place in a pending shard's file. For worker processes: needs no HDF5."""
    data = np.ascontiguousarray(frames).reshape(-1).data
    position = frames_offset + row * len(data)
    descriptor = os.open(file, os.O_WRONLY)
    try:
        while data:
            written = os.pwrite(descriptor, data, position)
            data, position = data[written:], position + written
    finally:
        os.close(descriptor)


class ShardReader:
    """A complete shard, opened for reading. The HDF5 file is closed again at once; frames are mapped from the file.

    frames: uint8 (N, T·K, H, W, 3), mapped read-only. frame_index: int32 (N, T·K). label: int16 (N,). crc32: uint32
    (N,).
    clip_id and manifest: tuples of N texts. Safe to keep across a fork. Raises DataError where the file is not a shard
    of this version, is truncated, or does not hold what the format asks for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = _stamp(path)
        if self._stamp is None:
            raise DataError(f"no shard at {path}; make it again with `hmdb-prep extract`")
        try:
            with h5py.File(path, "r", locking=False) as file:
                offset, shape = _frames_place(path, file)
                check_heaps(path, frames_offset=offset, frames_bytes=math.prod(shape))
                self.layout = _read_layout(path, file)
                _check_shape(path, shape, self.layout)
                num_clips, num_rows = shape[:2]
                self.frame_index: npt.NDArray[np.int32] = _own(file, "frame_index", (num_clips, num_rows), "i4")[:]
                self.label: npt.NDArray[np.int16] = _own(file, "label", (num_clips,), "i2")[:]
                self.crc32: npt.NDArray[np.uint32] = _own(file, "crc32", (num_clips,), "u4")[:]
                self.clip_id: tuple[str, ...] = read_texts(path, _own(file, "clip_id", (num_clips,), "O"))
                self.manifest: tuple[str, ...] = read_texts(path, _own(file, "manifest", (num_clips,), "O"))
        except (
            OSError,
            KeyError,
            RuntimeError,
            ValueError,
            TypeError,
            AttributeError,
            OverflowError,
        ) as error:
            raise DataError(
                f"{path} is damaged or no shard ({error}); delete it and run `hmdb-prep extract` again"
            ) from error
        self.frames: npt.NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape)

    @property
    def num_clips(self) -> int:
        """N, the number of clips."""
        return len(self.clip_id)

    def damaged_clips(self) -> list[str]:
        """Ids of the clips whose frames do not have the checksum that the shard holds. Reads the whole shard."""
        return [self.clip_id[row] for row in range(self.num_clips) if crc32_of(self.frames[row]) != self.crc32[row]]

    def check_unchanged(self) -> None:
        """Raise DataError where the file was written to, cut or removed since it was opened.

        To be called before frames are read: reading beyond the end of a file that was cut kills the process.
        """
        if _stamp(self.path) != self._stamp:
            raise DataError(f"{self.path} was changed while it was being read; run `hmdb-prep verify`")

    def close(self) -> None:
        """Let go of the mapping; arrays already taken from ``frames`` stay valid."""
        del self.frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change of a file; None where there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return (state.st_size, state.st_mtime_ns) if stat.S_ISREG(state.st_mode) else None


def _open_new(path: Path) -> h5py.File:
    # HDF5's own locks fail on network file systems without any; nobody else knows the temporary name.
    return h5py.File(path, "w", locking=False, alignment_threshold=_ALIGNMENT_THRESHOLD, alignment_interval=_ALIGNMENT)


def _root_attributes(layout: ShardLayout) -> list[tuple[str, str | int]]:
    return [
        ("format", SHARD_FORMAT),
        ("version", SHARD_VERSION),
        ("num_segments", layout.num_segments),
        ("frames_per_segment", layout.frames_per_segment),
        ("height", layout.height),
        ("width", layout.width),
        ("dataset_id", layout.dataset_id),
    ]


def _read_layout(path: Path, file: Any) -> ShardLayout:
    if file.attrs.get("format") != SHARD_FORMAT:
        raise DataError(f"{path} is no {SHARD_FORMAT} file; name the folder of shards with --shards")
    version = int(file.attrs["version"])
    if version != SHARD_VERSION:
        raise DataError(
            f"{path} has format version {version}, this program reads version {SHARD_VERSION}; "
            "use the program that wrote it or extract anew with --overwrite"
        )
    return ShardLayout(
        num_segments=int(file.attrs["num_segments"]),
        frames_per_segment=int(file.attrs["frames_per_segment"]),
        height=int(file.attrs["height"]),
        width=int(file.attrs["width"]),
        dataset_id=str(file.attrs["dataset_id"]),
    )


def _frames_place(path: Path, file: Any) -> tuple[int, tuple[int, ...]]:
    frames = _member(file, "frames")
    offset = frames.id.get_offset()
    if frames.dtype != np.uint8 or offset is None:
        raise DataError(f"{path}: frames are not uncompressed uint8 in one piece; extract anew with --overwrite")
    shape = tuple(int(length) for length in frames.shape or ())
    if len(shape) != 5 or min(shape) < 1:
        raise DataError(f"{path} is no shard: its frames are {shape}")
    if path.stat().st_size < offset + math.prod(shape):
        raise DataError(f"{path} is truncated; delete it and run `hmdb-prep extract` again")
    return int(offset), shape


def _check_shape(path: Path, shape: tuple[int, ...], layout: ShardLayout) -> None:
    expected = (shape[0], layout.num_rows, layout.height, layout.width, 3)
    if shape != expected:
        raise DataError(f"{path}: data sets do not fit together: frames are {shape}, expected {expected}")


def _own(file: Any, name: str, shape: tuple[int, ...], kind: str) -> Any:
    """A data set of this shape and type (``O``: texts), not yet read. Raises ValueError where it is another.

    The frames have been seen to lie in the file, so nothing larger than the file can be asked for.
    """
    data = _member(file, name)
    if data.shape != shape or data.dtype != np.dtype(kind):
        raise ValueError(f"{name} is {data.dtype} {data.shape}, expected {np.dtype(kind)} {shape}")
    return data


def _member(file: Any, name: str) -> Any:
    """A data set whose content lies in this very file. Raises ValueError where it is a link or kept elsewhere.

    HDF5 would follow links and storage into any other file of the machine.
    """
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link")
    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise ValueError(f"{name} is no data set")
    if data.is_virtual or data.external:
        raise ValueError(f"{name} is kept in another file")
    return data


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
