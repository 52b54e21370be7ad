"""Pictures out of the shards: small luma pictures of every clip for comparison, thumbnails of a few as data URIs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from preprocess.eda.near_duplicates import FRAMES_A_CLIP, small_pictures
from shared.console import progress
from shared.errors import DataError
from shared.manifests import Dataset
from shared.pages import data_address
from shared.shards.reader import ShardReader
from shared.video.sampling import evaluation_rows

THUMBNAIL_HEIGHT = 108
_JPEG_QUALITY = 82


def missing_shards(clips: pd.DataFrame, shards: Path) -> list[str]:
    """Names of shards that the manifests name and the folder lacks, sorted."""
    return sorted(name for name in set(clips["shard"]) if not (shards / name).is_file())


def read_small_pictures(clips: pd.DataFrame, shards: Path, dataset: Dataset) -> npt.NDArray[np.float32]:
    """``small_pictures`` of FRAMES_A_CLIP evaluation frames of each clip, evenly spread: float32 (N, n, 32, 32).

    Raises DataError where a shard is damaged or holds other clips than the manifests say.
    """
    rows = _rows_of(dataset, FRAMES_A_CLIP)
    pictures = np.empty((len(clips), len(rows), 32, 32), dtype=np.float32)
    with progress("comparing clips", len(clips)) as advance:
        for name, positions in clips.groupby("shard").indices.items():
            with _open_shard(shards / str(name), dataset) as shard:
                for position in positions:
                    frames = shard.frames[_row_in(shard, clips.iloc[int(position)])]
                    pictures[position] = small_pictures(frames[rows])
                    advance(1)
    return pictures


def read_thumbnails(clips: pd.DataFrame, shards: Path, dataset: Dataset) -> dict[str, str]:
    """The middle frame of each of a few clips as a JPEG data URI, keyed by clip_id. Raises as read_small_pictures."""
    middle = int(_rows_of(dataset, 1)[0])
    thumbnails = {}
    for name, members in clips.drop_duplicates("clip_id").groupby("shard"):
        with _open_shard(shards / str(name), dataset) as shard:
            for _, clip in members.iterrows():
                thumbnails[str(clip["clip_id"])] = thumbnail(shard.frames[_row_in(shard, clip), middle])
    return thumbnails


def thumbnail(frame: npt.NDArray[np.uint8]) -> str:
    """A frame, uint8 (H, W, 3), as a JPEG data URI, THUMBNAIL_HEIGHT pixels high."""
    height, width = frame.shape[:2]
    size = (max(1, round(width * THUMBNAIL_HEIGHT / height)), THUMBNAIL_HEIGHT)
    picture = Image.fromarray(np.ascontiguousarray(frame)).resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_JPEG_QUALITY, optimize=True)
    return data_address(buffer.getvalue(), "jpeg")


def _rows_of(dataset: Dataset, count: int) -> npt.NDArray[np.int64]:
    rows = evaluation_rows(num_segments=dataset.num_segments, frames_per_segment=dataset.frames_per_segment)
    return np.asarray(rows[[(2 * index + 1) * len(rows) // (2 * count) for index in range(count)]])


def _open_shard(path: Path, dataset: Dataset) -> ShardReader:
    shard = ShardReader(path)
    layout = shard.layout
    sampling = layout.num_segments, layout.frames_per_segment
    if layout.dataset_id != dataset.dataset_id or sampling != (dataset.num_segments, dataset.frames_per_segment):
        raise DataError(f"{path} belongs to another data set than the manifests; run `hmdb-prep verify`")
    return shard


def _row_in(shard: ShardReader, clip: pd.Series[Any]) -> int:
    row, clip_id = int(clip["row"]), clip["clip_id"]
    if not shard.holds(clip_id, row=row):
        raise DataError(f"{shard.path}: row {row} is not {clip_id} as the manifests say; run `hmdb-prep verify`")
    return row
