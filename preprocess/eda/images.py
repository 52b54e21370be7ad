"""Pictures out of the shards: small luma pictures of every clip for comparison, thumbnails of a few as data URIs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from preprocess.eda.near_duplicates import FRAMES_A_CLIP, Looks, looks_of, small_pictures
from shared.pages.page import data_address
from shared.shards.clips import clips_in_shards
from shared.terminal.console import progress

THUMBNAIL_HEIGHT = 108
_JPEG_QUALITY = 82
_CLIPS_AT_ONCE = 256  # whose hashes are taken together


def read_looks(clips: pd.DataFrame, shards: Path, *, dataset_id: str) -> Looks:
    """How FRAMES_A_CLIP evaluation frames of each clip look, evenly spread, in the order of the rows.

    Raises DataError as ``clips_in_shards`` does.
    """
    looks = Looks(
        hashes=np.empty((len(clips), FRAMES_A_CLIP, 4), np.uint64),
        pictures=np.empty((len(clips), FRAMES_A_CLIP, 32, 32), np.uint8),
        is_flat=np.empty((len(clips), FRAMES_A_CLIP), np.bool_),
    )
    places: list[int] = []
    pictures = np.empty((_CLIPS_AT_ONCE, FRAMES_A_CLIP, 32, 32), np.float32)
    with progress("reading pictures", len(clips)) as advance:
        for clip in clips_in_shards(clips, shards, dataset_id=dataset_id):
            pictures[len(places)] = small_pictures(clip.frames[_spread(clip.evaluation, FRAMES_A_CLIP)])
            places.append(clip.place)
            if len(places) == _CLIPS_AT_ONCE:
                _keep(looks, places, pictures)
                places = []
            advance(1)
        _keep(looks, places, pictures[: len(places)])
    return looks


def _keep(looks: Looks, places: list[int], pictures: npt.NDArray[np.float32]) -> None:
    some = looks_of(pictures)
    looks.hashes[places], looks.pictures[places], looks.is_flat[places] = some.hashes, some.pictures, some.is_flat


def read_thumbnails(clips: pd.DataFrame, shards: Path, *, dataset_id: str) -> dict[str, str]:
    """The middle frame of each of a few clips as a JPEG data URI, keyed by clip_id. Raises as read_looks."""
    clips = clips.drop_duplicates("clip_id")
    return {
        str(clips["clip_id"].iloc[clip.place]): thumbnail(clip.frames[_spread(clip.evaluation, 1)[0]])
        for clip in clips_in_shards(clips, shards, dataset_id=dataset_id)
    }


def thumbnail(frame: npt.NDArray[np.uint8]) -> str:
    """A frame, uint8 (H, W, 3), as a JPEG data URI, THUMBNAIL_HEIGHT pixels high."""
    height, width = frame.shape[:2]
    size = (max(1, round(width * THUMBNAIL_HEIGHT / height)), THUMBNAIL_HEIGHT)
    picture = Image.fromarray(np.ascontiguousarray(frame)).resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_JPEG_QUALITY, optimize=True)
    return data_address(buffer.getvalue(), "jpeg")


def _spread(rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """``count`` of the rows, evenly spread."""
    return rows[[(2 * index + 1) * len(rows) // (2 * count) for index in range(count)]]
