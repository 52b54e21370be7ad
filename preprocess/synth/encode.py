"""Renders one clip of the embedded data set into a video file; the job of its worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from preprocess.synth.scene import render_clip
from preprocess.synth.specs import FRAMES_PER_SECOND, ClipSpec
from shared.errors import DataError, last_line
from shared.files import write_bytes

# One key frame a clip and two B-frames between the others, as in most of HMDB51.
_KEY_FRAME_INTERVAL = 300
_MPEG4_BITS_PER_SECOND = 700_000
_H264_RATE_FACTOR = 23
_X264 = {"mbtree": 0}  # the macroblock tree gives other bytes in one encode of the same frames than in the next


@dataclass(frozen=True, kw_only=True)
class ClipJob:
    """One clip to be written below ``destination``."""

    spec: ClipSpec
    destination: Path


def write_clip(job: ClipJob) -> int:
    """Render and encode one clip; returns its size in bytes.

    What bears a video's name is complete. Raises DataError where the FFmpeg that torchcodec found cannot encode.
    """
    torch.set_num_threads(1)
    content = encode(torch.from_numpy(render_clip(job.spec)), suffix=job.spec.suffix)
    write_bytes(job.destination / job.spec.path, content)
    return len(content)


def encode(frames: torch.Tensor, *, suffix: str) -> bytes:
    """Encode uint8 (n, H, W, 3) RGB frames: ``.avi`` as MPEG-4 part 2, ``.mp4`` as H.264, both with B-frames."""
    common: dict[str, Any] = {"bf": 2, "g": _KEY_FRAME_INTERVAL, "threads": 1}
    try:
        from torchcodec.encoders import VideoEncoder

        encoder = VideoEncoder(frames.permute(0, 3, 1, 2).contiguous(), frame_rate=FRAMES_PER_SECOND)
        if suffix == ".mp4":
            video = encoder.to_tensor(
                "mp4", codec="libx264", pixel_format="yuv420p", crf=_H264_RATE_FACTOR, preset="veryfast",
                extra_options=common | _X264,
            )  # fmt: skip
        else:
            rate = {"b": _MPEG4_BITS_PER_SECOND, "qmin": 2, "qmax": 12}
            video = encoder.to_tensor("avi", codec="mpeg4", pixel_format="yuv420p", extra_options=common | rate)
    except (RuntimeError, ImportError) as error:
        raise DataError(
            f"cannot encode {suffix} videos: {last_line(error)}; install an FFmpeg with the encoders mpeg4 and libx264 "
            "(`hmdb-prep doctor` shows which one is found)"
        ) from error
    return bytes(video.numpy())
