"""What a worker process does with one video: decode, fit, measure, write the row into the pending shard.

Decoders crash and hang on hostile files, so they run here, in processes that are replaced when they do.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from preprocess.extract.extraction_plan import ExtractionPlan
from preprocess.extract.statistics import ClipStatistics, measure_clip
from shared.classes import Video, parse_name
from shared.manifests import ClipRow, QuarantineRow
from shared.shards.format import crc32_of
from shared.shards.writer import write_clip_frames
from shared.splits import ClipSplits, assign_splits
from shared.video.decoding import DecodedClip, VideoError, VideoHeader, decode_clip, first_line, read_header
from shared.video.resizing import FrameSize
from shared.video.sampling import evaluation_slice
from shared.video.shape import ClipShape


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
    shape = ClipShape(num_segments=job.num_segments, frames_per_segment=job.frames_per_segment, size=job.size)
    return decode_clip(job.video, shape, device=device)


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


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What is known of every clip before decoding: its label and its splits, by clip_id."""

    labels: dict[str, int]
    splits: dict[str, ClipSplits]


def clip_facts(plan: ExtractionPlan) -> ClipFacts:
    """Labels and splits of all planned videos, the quarantined ones too, so that they never depend on decoding."""
    class_names = sorted({video.class_name for video in plan.videos})
    labels = {name: label for label, name in enumerate(class_names)}
    planned = [video for block in plan.blocks for video in block.videos]
    sources = [parse_name(video.stem, class_name=video.class_name).source for video in planned]
    splits = assign_splits([video.clip_id for video in planned], [video.class_name for video in planned], sources)
    return ClipFacts(
        labels={video.clip_id: labels[video.class_name] for video in planned},
        splits={video.clip_id: split for video, split in zip(planned, splits, strict=True)},
    )


def clip_row(video: Video, clip: MeasuredClip, facts: ClipFacts, *, shard: str, row: int) -> ClipRow:
    """The manifest row of a measured clip. duration_seconds is num_frames / fps, 0 where the header gives no rate."""
    tags = parse_name(video.stem, class_name=video.class_name)
    splits = facts.splits[video.clip_id]
    return ClipRow(
        clip_id=video.clip_id,
        class_name=video.class_name,
        label=facts.labels[video.clip_id],
        path=video.path,
        source=tags.source,
        split1=splits.split1,
        split2=splits.split2,
        split3=splits.split3,
        split_full=splits.split_full,
        body=tags.body,
        camera_motion=tags.camera_motion,
        num_people=tags.num_people,
        viewpoint=tags.viewpoint,
        quality=tags.quality,
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
        **dataclasses.asdict(clip.statistics),
    )
