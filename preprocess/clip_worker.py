"""What a worker process does with one video: decode, fit, measure, write the row into the pending shard.

Decoders crash and hang on hostile files, so they run here, in processes that are replaced when they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from preprocess.statistics import ClipStatistics, measure_clip
from shared.decoding import DecodedClip, VideoError, VideoHeader, decode_clip, first_line, read_header
from shared.manifests import QuarantineRow
from shared.resizing import FrameSize, resize_frames
from shared.sampling import evaluation_slice
from shared.shards import crc32_of, write_clip_frames


@dataclass(frozen=True, kw_only=True)
class ClipJob:
    """One video to decode into row ``row`` of a pending shard's file (None: decode and measure, write nothing)."""

    video: Path
    path: str
    height: int
    width: int
    size: FrameSize | None
    num_segments: int
    frames_per_segment: int
    device: str
    shard_file: Path | None
    frames_offset: int
    row: int


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredClip:
    """What is known of a clip once its frames are written."""

    header: VideoHeader
    num_frames: int
    num_padded: int
    frame_index: npt.NDArray[np.int32]
    crc32: int
    decoder: str
    statistics: ClipStatistics


def extract_clip(job: ClipJob) -> MeasuredClip | QuarantineRow:
    """Do one job. A video that gives no clip is the result and no error; a full disk is an OSError."""
    torch.set_num_threads(1)
    try:
        return _extract(job)
    except VideoError as error:
        return QuarantineRow(path=job.path, stage=error.stage, error=str(error))
    except (MemoryError, RuntimeError) as error:  # torch says RuntimeError when memory is short
        return QuarantineRow(path=job.path, stage="decode", error=first_line(error))


def _extract(job: ClipJob) -> MeasuredClip | QuarantineRow:
    clip = _decode(job)
    if tuple(clip.frames.shape[1:3]) != (job.height, job.width):
        shape = f"{clip.frames.shape[1]}x{clip.frames.shape[2]}"
        reason = f"frames are {shape} but its header says {job.height}x{job.width}"
        return QuarantineRow(path=job.path, stage="decode", error=reason)
    statistics = measure_clip(clip.frames[evaluation_slice(job.frames_per_segment)])
    frames = clip.frames.cpu().numpy()
    if job.shard_file is not None:
        write_clip_frames(job.shard_file, job.frames_offset, row=job.row, frames=frames)
    return MeasuredClip(
        header=clip.header,
        num_frames=clip.num_frames,
        num_padded=clip.num_padded,
        frame_index=clip.frame_index,
        crc32=crc32_of(frames),
        decoder=clip.decoder,
        statistics=statistics,
    )


def _decode(job: ClipJob) -> DecodedClip:
    if job.device != "cpu":
        try:
            return _decode_on(job, job.device)
        except (VideoError, RuntimeError):
            pass  # what the GPU cannot decode the CPU may; the manifest's ``decoder`` says which it was
    return _decode_on(job, "cpu")


def _decode_on(job: ClipJob, device: str) -> DecodedClip:
    return decode_clip(
        job.video,
        num_segments=job.num_segments,
        frames_per_segment=job.frames_per_segment,
        transform=lambda frames: resize_frames(frames, job.size),
        device=device,
    )


@dataclass(frozen=True, kw_only=True)
class ProbeJob:
    """One video whose header is to be read."""

    video: Path
    path: str


def probe_size(job: ProbeJob) -> tuple[int, int] | QuarantineRow:
    """(height, width) in pixels from the header, or why there is none. Needed to plan ``--size native``."""
    try:
        header = read_header(job.video)
    except VideoError as error:
        return QuarantineRow(path=job.path, stage=error.stage, error=str(error))
    if header.height < 1 or header.width < 1:
        return QuarantineRow(path=job.path, stage="open", error="the header gives no height and width")
    return header.height, header.width
