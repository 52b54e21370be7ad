"""What is read of an uploaded video. Worker processes import this file, so it imports little."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.errors import DataError
from shared.video.decoding import decode_clip, open_video
from shared.video.shape import ClipShape
from train.serve.limits import MOST_SECONDS


@dataclass(frozen=True, kw_only=True)
class UploadedVideo:
    """A video, and the shape of the clip wanted of it."""

    path: Path
    shape: ClipShape


@dataclass(frozen=True, kw_only=True, eq=False)
class Upload:
    """What is needed of an uploaded video, in NumPy's arrays, which travel between processes."""

    frames: npt.NDArray[np.uint8]
    """uint8 (T, H, W, 3), of the stored size."""
    frame_index: tuple[int, ...]
    """The number of each in the video, from 0."""
    num_frames: int
    """Of the video."""
    num_padded: int
    """How many of the T frames only repeat the last one."""


def read_upload(request: UploadedVideo) -> Upload:
    """Decode an uploaded video, in a worker. Raises DataError where it gives no clip, or is too long."""
    header = open_video(request.path).header
    if header.fps > 0:
        _check_length(header.num_frames / header.fps)  # as the file says; what it shows is seen below
    clip = decode_clip(request.path, request.shape)
    _check_length(clip.duration_seconds)
    return Upload(
        frames=clip.frames.numpy(),
        frame_index=tuple(clip.frame_index.tolist()),
        num_frames=clip.num_frames,
        num_padded=clip.num_padded,
    )


def _check_length(seconds: float) -> None:
    if seconds > MOST_SECONDS:
        raise DataError(
            f"the video takes {seconds:.0f} s, and this page takes at most {MOST_SECONDS}; `lsvit-train predict "
            "--window` answers for long videos over time"
        )
