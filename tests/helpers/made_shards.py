"""Small shards of noise, and how to damage them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from shared.shards.format import ClipRecord, ShardLayout, crc32_of
from shared.shards.writer import PendingShard, write_clip_frames

LAYOUT = ShardLayout(num_segments=2, frames_per_segment=3, height=4, width=5, dataset_id="d" * 64)


def clip_frames(seed: int) -> npt.NDArray[np.uint8]:
    """Noise of LAYOUT's shape: uint8 (6, 4, 5, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)


def record(seed: int) -> ClipRecord:
    """The record that goes with ``clip_frames``."""
    return ClipRecord(
        clip_id=f"wäve/{seed}",
        label=seed,
        frame_index=np.arange(6, dtype=np.int32) + seed,
        crc32=crc32_of(clip_frames(seed)),
        manifest=f'{{"clip_id": "wäve/{seed}"}}',
    )


def write_shard(path: Path, records: list[ClipRecord | None]) -> Path:
    """Write and publish a shard of LAYOUT; its clip in row r has ``clip_frames(r)``."""
    with PendingShard(path, LAYOUT, capacity=len(records)) as shard:
        for row in range(len(records)):
            write_clip_frames(shard.place(row), clip_frames(row))
        shard.complete(records)
        shard.publish()
    return path


def change(path: Path, edit: Callable[[h5py.File], object]) -> None:
    """Edit a finished shard in place."""
    with h5py.File(path, "r+") as file:
        edit(file)
