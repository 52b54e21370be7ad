"""What a worker process does with one video: decode, measure, write the frames into the pending shard.

Decoders crash and hang on hostile files, so they run here, in processes that are replaced when they do.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from preprocess.extract.extraction_plan import ClipFacts
from preprocess.extract.statistics import ClipStatistics, measure_clip
from shared.classes import Video, parse_name
from shared.errors import first_line
from shared.manifests import ClipRow, QuarantineRow
from shared.shards.format import crc32_of
from shared.shards.writer import ClipPlace, write_clip_frames
from shared.video.decoding import DecodedClip, decode_clip, picture_size
from shared.video.sampling import evaluation_slice
from shared.video.shape import ClipShape
from shared.video.streams import VideoError, VideoHeader


@dataclass(frozen=True, kw_only=True)
class ClipJob:
    """One video, and what is to become of it."""

    video: Path
    path: str
    """Its path relative to the folder of videos, for messages."""
    shape: ClipShape
    height: int
    width: int
    """What the planned shard has room for: with size ``native``, the size of the first frame."""
    device: str
    place: ClipPlace | None
    """Where the frames are written; None: they are decoded and measured only."""


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
        reason = f"frames are {shape} but its first was {job.height}x{job.width}"
        return QuarantineRow(path=job.path, stage="decode", error=reason)
    statistics = measure_clip(clip.frames[evaluation_slice(job.shape.frames_per_segment)])
    frames = clip.frames.cpu().numpy()
    if job.place is not None:
        write_clip_frames(job.place, frames)
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
            return decode_clip(job.video, job.shape, device=job.device)
        except (VideoError, RuntimeError):
            pass  # what the GPU cannot decode the CPU may; the manifest's ``decoder`` says which it was
    return decode_clip(job.video, job.shape, device="cpu")


def probe_size(folder: Path, path: str) -> tuple[int, int] | QuarantineRow:
    """(height, width) in pixels of a video's first frame, or why there is none. Needed to plan ``--size native``."""
    try:
        return picture_size(folder / path)
    except VideoError as error:
        return QuarantineRow(path=path, stage=error.stage, error=str(error))


def clip_row(video: Video, clip: MeasuredClip, facts: ClipFacts, *, shard: str, row: int) -> ClipRow:
    """The manifest row of a measured clip. duration_seconds is num_frames / fps, 0 where the header gives no rate."""
    return ClipRow(
        clip_id=video.clip_id,
        class_name=video.class_name,
        label=facts.labels[video.clip_id],
        path=video.path,
        codec=clip.header.codec,
        fps=clip.header.fps,
        width=clip.header.width,
        height=clip.header.height,
        num_frames=clip.num_frames,
        num_frames_header=clip.header.num_frames,
        duration_seconds=clip.num_frames / clip.header.fps if clip.header.fps else 0.0,
        num_padded=clip.num_padded,
        decoder=clip.decoder,
        shard=shard,
        row=row,
        crc32=clip.crc32,
        **dataclasses.asdict(parse_name(video.stem, class_name=video.class_name)),
        **dataclasses.asdict(facts.splits[video.clip_id]),
        **dataclasses.asdict(clip.statistics),
    )
