"""Reads shards: whole, mapped into memory, and nothing outside their own file."""

from __future__ import annotations

import errno
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from shared.errors import DataError
from shared.shards.format import SHARD_FORMAT, SHARD_VERSION, ShardLayout, crc32_of
from shared.shards.texts import check_heaps, read_texts

_NOT_THE_FILES_FAULT = (errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.EIO)


@dataclass(frozen=True, kw_only=True)
class FramesPlace:
    """Where the frames of a shard lie in its file, which was read and checked: enough to map them, now or later."""

    path: Path
    stamp: tuple[int, int]
    """Size in bytes and time of the last change in ns, when the file was checked."""
    offset: int
    """Of the first byte."""
    shape: tuple[int, ...]
    """(N, T·K, H, W, 3)"""

    def map(self) -> npt.NDArray[np.uint8]:
        """The frames, uint8, mapped read-only. Raises DataError where they cannot be, or the file has changed."""
        self.check_unchanged()
        try:
            return np.memmap(self.path, dtype=np.uint8, mode="r", offset=self.offset, shape=self.shape)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path} cannot be read: {error}") from error

    def is_unchanged(self) -> bool:
        """Whether the file is as it was: not written to, cut or removed."""
        return _stamp(self.path) == self.stamp

    def check_unchanged(self) -> None:
        """Raise DataError where the file was written to, cut or removed since it was opened.

        To be called before frames are read: reading beyond the end of a file that was cut kills the process.
        """
        if not self.is_unchanged():
            raise DataError(f"{self.path} was changed while it was being read; run `hmdb-prep verify`")


def is_the_files_fault(error: DataError) -> bool:
    """Whether ``ShardReader`` raised this because of what is in the file, and not because of the machine at present."""
    cause = error.__cause__
    return not (isinstance(cause, OSError) and cause.errno in _NOT_THE_FILES_FAULT)


class ShardReader:
    """A complete shard, opened for reading. The HDF5 file is closed again at once; frames are mapped from the file.

    frames: uint8 (N, T·K, H, W, 3), mapped read-only. frame_index: int32 (N, T·K). label: int16 (N,). crc32: uint32
    (N,).
    clip_id and manifest: tuples of N texts. Safe to keep across a fork. Raises DataError where the file is not a shard
    of this version, is truncated, or does not hold what the format asks for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        stamp = _stamp(path)
        if stamp is None:
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
            self.frames: npt.NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape)
            self.place = FramesPlace(path=path, stamp=stamp, offset=offset, shape=shape)
        except (
            OSError,
            KeyError,
            RuntimeError,
            ValueError,
            TypeError,
            AttributeError,
            OverflowError,
        ) as error:
            if isinstance(error, OSError) and error.errno in _NOT_THE_FILES_FAULT:
                reason = os.strerror(error.errno)
                raise DataError(
                    f"{path} cannot be read: {reason}; when that is mended, run the command again"
                ) from error
            raise DataError(
                f"{path} is damaged or no shard ({error}); delete it and run `hmdb-prep extract` again"
            ) from error

    @property
    def num_clips(self) -> int:
        """N, the number of clips."""
        return len(self.clip_id)

    def holds(self, clip_id: str, *, row: int) -> bool:
        """Whether this clip stands in this row."""
        return 0 <= row < self.num_clips and self.clip_id[row] == clip_id

    def damaged_clips(self) -> list[str]:
        """Ids of the clips whose frames do not have the checksum that the shard holds. Reads the whole shard."""
        return [self.clip_id[row] for row in range(self.num_clips) if crc32_of(self.frames[row]) != self.crc32[row]]

    def close(self) -> None:
        """Let go of the mapping; arrays already taken from ``frames`` stay valid."""
        del self.frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_dataset_id(path: Path) -> str:
    """The dataset_id that a shard bears, empty where the file is no shard or cannot be read. Looks at nothing else."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return str(file.attrs["dataset_id"]) if file.attrs.get("format") == SHARD_FORMAT else ""
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError):
        return ""


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change of a file; None where there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return (state.st_size, state.st_mtime_ns) if stat.S_ISREG(state.st_mode) else None


def _read_layout(path: Path, file: Any) -> ShardLayout:
    if file.attrs.get("format") != SHARD_FORMAT:
        raise DataError(f"{path} is no {SHARD_FORMAT} file; name the folder of shards with --shards")
    version = int(file.attrs["version"])
    if version != SHARD_VERSION:
        raise DataError(
            f"{path} has format version {version}, this program reads version {SHARD_VERSION}; "
            "use the program that wrote it, or extract into another folder with --shards"
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
        raise DataError(f"{path} is no shard: its frames are {shape}; delete it and run `hmdb-prep extract` again")
    if path.stat().st_size < offset + math.prod(shape):
        raise DataError(f"{path} is truncated; delete it and run `hmdb-prep extract` again")
    return int(offset), shape


def _check_shape(path: Path, shape: tuple[int, ...], layout: ShardLayout) -> None:
    expected = (shape[0], layout.num_rows, layout.height, layout.width, 3)
    if shape != expected:
        raise DataError(
            f"{path}: attributes and data sets do not fit together: frames are {shape}, expected {expected}; "
            "delete it and run `hmdb-prep extract` again"
        )


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
