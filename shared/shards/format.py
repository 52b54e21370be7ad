"""The shard format ``hmdb-clip-shard`` version 1: names, layout, checksum. docs/format.md shows an example."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SHARD_FORMAT = "hmdb-clip-shard"
SHARD_VERSION = 1
SHARD_NAMES = "shard-*.h5"  # as a pattern for files
MAX_FRAME_BYTES = 256 * 1000**2  # of the frames of one shard


@dataclass(frozen=True, kw_only=True)
class ShardLayout:
    """What all clips of a shard share. The fields are the root attributes, in order.

    T segments of K frames each; height and width in pixels.
    """

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
