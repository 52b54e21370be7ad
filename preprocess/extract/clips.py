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

from preprocess.extract.facts import ClipFacts
from preprocess.extract.statistics import ClipStatistics, measure_clip
from shared.errors import first_line
from shared.manifests.files import ClipRow, QuarantineRow
from shared.manifests.notes import NoteRow
from shared.shards.format import crc32_of
from shared.shards.writer import ClipPlace, write_clip_frames
from shared.terminal.console import counted
from shared.video.decoding import decode_clip, picture_size
from shared.video.listing import Video
from shared.video.sampling import evaluation_slice
from shared.video.shape import FASTEST_FPS, ClipShape
from shared.video.streams import VideoError, VideoHeader

_ALMOST_SQUARE = 0.01  # nobody sees it, and containers round
_ALMOST_UPRIGHT = 1.0  # degrees
_FEW_OF_THE_FRAMES = 0.8  # of those the header promises; J-HMDB's clips have 0.82 to 0.86 and are whole


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
    folder_fps: float = 0.0
    """Frames a second of a frame folder; 0 where it is not known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredClip:
    """What is known of a clip once its frames are written. The fields of ``DecodedClip`` mean what they mean there."""

    header: VideoHeader
    num_frames: int
    num_padded: int
    height: int
    width: int
    fps: float
    duration_seconds: float
    decode_errors: int
    frame_index: npt.NDArray[np.int32]
    crc32: int
    decoder: str
    gpu_error: str
    """Why the GPU did not decode it; empty where it did, or was not asked to."""
    statistics: ClipStatistics
    notes: tuple[str, ...]


def extract_clip(job: ClipJob) -> MeasuredClip | QuarantineRow:
    """Do one job. A video that gives no clip is the result and no error; a full disk is an OSError.

    Whatever fails on a GPU, be it for lack of its memory, is done again on the CPU.
    """
    torch.set_num_threads(1)
    if job.device == "cpu":
        return _extract_on_cpu(job, gpu_error="")
    try:
        return _extract(job, device=job.device, gpu_error="")
    except (VideoError, RuntimeError) as error:
        gpu_error = first_line(error)
    torch.cuda.empty_cache()  # other processes may need what this one had set aside
    return _extract_on_cpu(job, gpu_error=gpu_error)


def _extract_on_cpu(job: ClipJob, *, gpu_error: str) -> MeasuredClip | QuarantineRow:
    try:
        return _extract(job, device="cpu", gpu_error=gpu_error)
    except VideoError as error:
        return QuarantineRow(path=job.path, stage=error.stage, error=str(error))
    except (MemoryError, RuntimeError) as error:  # torch says RuntimeError when memory is short
        return QuarantineRow(path=job.path, stage="decode", error=first_line(error))


def _extract(job: ClipJob, *, device: str, gpu_error: str) -> MeasuredClip:
    clip = decode_clip(job.video, job.shape, device=device, folder_fps=job.folder_fps)
    if clip.decoder != "cpu" and clip.decode_errors:
        raise VideoError("decode", f"{counted(clip.decode_errors, 'packet')} did not decode")  # the CPU may do better
    if tuple(clip.frames.shape[1:3]) != (job.height, job.width):
        shape = f"{clip.frames.shape[1]}x{clip.frames.shape[2]}"
        raise VideoError(
            "decode", f"frames are {shape} but its first was {job.height}x{job.width}; store it with a --size"
        )
    statistics = measure_clip(clip.frames[evaluation_slice(job.shape.frames_per_segment)])
    frames = clip.frames.cpu().numpy()
    if job.place is not None:
        write_clip_frames(job.place, frames)
    return MeasuredClip(
        header=clip.header,
        num_frames=clip.num_frames,
        num_padded=clip.num_padded,
        height=clip.height,
        width=clip.width,
        fps=clip.fps,
        duration_seconds=clip.duration_seconds,
        decode_errors=clip.decode_errors,
        frame_index=clip.frame_index,
        crc32=crc32_of(frames),
        decoder=clip.decoder,
        gpu_error=gpu_error,
        statistics=statistics,
        notes=clip.notes,
    )


def probe_size(folder: Path, path: str) -> tuple[int, int] | QuarantineRow:
    """(height, width) in pixels of a video's first frame, or why there is none. Needed to plan ``--size native``."""
    try:
        return picture_size(folder / path)
    except VideoError as error:
        return QuarantineRow(path=path, stage=error.stage, error=str(error))


def clip_row(video: Video, clip: MeasuredClip, facts: ClipFacts, *, shard: str, row: int) -> ClipRow:
    """The manifest row of a measured clip."""
    return ClipRow(
        clip_id=video.clip_id,
        class_name=video.class_name,
        label=facts.labels[video.clip_id],
        path=video.path,
        codec=clip.header.codec,
        fps=clip.fps,
        width=clip.width,
        height=clip.height,
        num_frames=clip.num_frames,
        num_frames_header=clip.header.num_frames,
        duration_seconds=clip.duration_seconds,
        num_padded=clip.num_padded,
        decode_errors=clip.decode_errors,
        decoder=clip.decoder,
        shard=shard,
        row=row,
        crc32=clip.crc32,
        **dataclasses.asdict(facts.tags[video.clip_id]),
        **dataclasses.asdict(facts.splits[video.clip_id]),
        **dataclasses.asdict(clip.statistics),
    )


def notes_on(path: str, clip: MeasuredClip) -> tuple[NoteRow, ...]:
    """What no column of the manifest says of a video: odd pixels, an odd turn, a still picture, too few frames."""
    header, notes = clip.header, list(clip.notes)
    if abs(header.sample_aspect_ratio - 1) >= _ALMOST_SQUARE:
        notes.append(
            f"its pixels are {header.sample_aspect_ratio:.3f} times as wide as high; stored as if they were square"
        )
    if abs(header.turn_left_out) > _ALMOST_UPRIGHT:
        notes.append(
            f"it is {abs(header.turn_left_out):.0f} degrees off a quarter turn; stored turned to the nearest quarter"
        )
    if clip.num_frames == 1:
        notes.append("a still picture: one frame, repeated in the clip; is it meant?")
    elif clip.fps < _FEW_OF_THE_FRAMES * header.fps <= _FEW_OF_THE_FRAMES * FASTEST_FPS:
        notes.append(
            f"{counted(clip.num_frames, 'frame')} in {clip.duration_seconds:.2f} seconds, where the header "
            f"says {header.fps:g} "
            "a second: frames are missing or the rate varies"
        )
    return tuple(NoteRow(path=path, note=note) for note in notes)
