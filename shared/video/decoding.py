"""The clip of a video: the T·K of its frames that are sampled, decoded exactly and fitted into the stored size.

A video is a file, or a folder of numbered pictures.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from shared.terminal.console import counted
from shared.video.frame_folders import OpenFrameFolder
from shared.video.resizing import resize_frames
from shared.video.sampling import candidate_frames, num_padded_frames
from shared.video.shape import DEFAULT_SHAPE, FASTEST_FPS, ClipShape
from shared.video.streams import OpenVideo, VideoError, VideoHeader

_SPECULATION_BYTES = 256 * 1024**2
_CHUNK_BYTES = 64 * 1024**2
EARLIEST_SECONDS = -1e9  # FFmpeg's mark for a missing time is far below any real one


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedClip:
    """The rows of one clip, and what was learnt of its video while reading it."""

    frames: torch.Tensor
    """uint8 (T·K, H, W, 3) RGB, of the stored size."""
    frame_index: npt.NDArray[np.int32]
    """int32 (T·K,): each row's frame number in the video."""
    num_frames: int
    """n, the frames that decode."""
    num_padded: int
    """How many of the T frames only repeat the last one."""
    height: int
    width: int
    """Of the pictures as decoded, which a container may give wrongly."""
    fps: float
    """Frames a second on average; 0 where the file does not say."""
    duration_seconds: float
    """How long the video is shown; 0 where the file does not say."""
    decode_errors: int
    """Packets that did not decode, or pictures that could not be read: their frames are missing."""
    header: VideoHeader
    decoder: str
    """``cpu`` or ``cuda``."""
    notes: tuple[str, ...]
    """What is odd about the pictures of a frame folder, a sentence each."""


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels of a video's first frame, decoded. Raises VideoError where there is none."""
    for frame in open_video(path).read_frames(wanted=(0,)):
        if frame.picture is not None:
            return frame.picture.shape[0], frame.picture.shape[1]
    raise VideoError("decode", "no frame decodes")


def decode_clip(
    video: str | os.PathLike[str], shape: ClipShape = DEFAULT_SHAPE, *, device: str = "cpu", folder_fps: float = 0.0
) -> DecodedClip:
    """Decode the T·K rows of a video's clip, exactly, and fit them into ``shape.size``.

    video: the path of a file or of a frame folder. shape: by default what `hmdb-prep extract` stores by default.
    folder_fps: the frames a second of a frame folder, 0 where it is not known; its pictures are read on the CPU.
    Memory is bounded by the rows and some 256 MiB, however long the video. Raises VideoError where no frame decodes, or
    where the picture changes its size and frames are to be stored as they are decoded.
    """
    path = Path(video)
    if path.is_dir():
        device = "cpu"
    opened = open_video(path, device=device, folder_fps=folder_fps)
    kept: dict[int, torch.Tensor] = {}
    seconds: list[float] = []
    last_duration = 0.0
    for frame in opened.read_frames(_speculative_frames(opened, shape)):
        if frame.picture is not None:
            kept[len(seconds)] = frame.picture
        seconds.append(frame.seconds)
        last_duration = frame.duration_seconds
    if not seconds:
        raise VideoError("decode", "no frame decodes")
    num_frames = len(seconds)
    height, width = kept[0].shape[:2]
    fps, duration_seconds = rate_and_duration(seconds, last_duration, header_fps=opened.header.fps)
    frame_index = _frames_of(num_frames, shape)
    unique_frames, rows = np.unique(frame_index, return_inverse=True)
    numbers: list[int] = unique_frames.tolist()
    if all(number in kept for number in numbers):
        pictures: Iterable[torch.Tensor] = (kept[number] for number in numbers)
    else:
        kept.clear()
        pictures = _read_again(path, numbers, device=device)
    unique = _fitted(pictures, shape)
    return DecodedClip(
        frames=unique if len(unique) == len(rows) else unique[torch.from_numpy(rows).to(unique.device)],
        frame_index=frame_index,
        num_frames=num_frames,
        num_padded=num_padded_frames(num_frames, num_segments=shape.num_segments),
        height=height,
        width=width,
        fps=fps,
        duration_seconds=duration_seconds,
        decode_errors=opened.decode_errors,
        header=opened.header,
        decoder=device.partition(":")[0],
        notes=opened.notes if isinstance(opened, OpenFrameFolder) else (),
    )


def open_video(path: Path, *, device: str = "cpu", folder_fps: float = 0.0) -> OpenVideo | OpenFrameFolder:
    """Open a file or a frame folder for one reading. Raises VideoError where that fails."""
    return OpenFrameFolder(path, fps=folder_fps) if path.is_dir() else OpenVideo(path, device=device)


def rate_and_duration(seconds: Sequence[float], last_duration: float, *, header_fps: float) -> tuple[float, float]:
    """(frames a second on average, seconds shown) of n frames shown at ``seconds``, the last for ``last_duration``.

    (n - 1) / (last - first) and last - first + last_duration. But the header's rate, and n by it, where it agrees with
    the times to half a frame, and where not every frame has a later time than the one before (AVI with B-frames). A
    single frame has no rate but the header's, and none (0, 0) where that is no camera's: the picture on an audio file.
    """
    num_frames, span = len(seconds), seconds[-1] - seconds[0]
    if num_frames == 1 and header_fps > FASTEST_FPS:
        return 0.0, 0.0
    timed = seconds[0] > EARLIEST_SECONDS and all(before < after for before, after in itertools.pairwise(seconds))
    if num_frames == 1 or not timed or abs(span * header_fps - (num_frames - 1)) < 0.5:
        return header_fps, num_frames / header_fps if header_fps else 0.0
    fps = (num_frames - 1) / span
    return fps, span + (last_duration if last_duration > 0 else 1 / fps)


def _frames_of(num_frames: int, shape: ClipShape) -> npt.NDArray[np.int32]:
    return candidate_frames(num_frames, num_segments=shape.num_segments, frames_per_segment=shape.frames_per_segment)


def _speculative_frames(video: OpenVideo | OpenFrameFolder, shape: ClipShape) -> frozenset[int]:
    """The frames that are wanted if n is one of those that are likely, and the first, to see it.

    They are kept while counting, so that one reading is enough for all but odd files.
    """
    frames = frozenset(frame for num_frames in video.likely_counts for frame in _frames_of(num_frames, shape).tolist())
    if len(frames) * video.header.height * video.header.width * 3 > _SPECULATION_BYTES:
        return frozenset({0})
    return frames | {0}


def _read_again(path: Path, numbers: Sequence[int], *, device: str) -> Iterator[torch.Tensor]:
    """The pictures of the frames with these numbers, which rise."""
    missing = len(numbers)
    for frame in open_video(path, device=device).read_frames(frozenset(numbers)):
        if frame.picture is not None:
            yield frame.picture
            missing -= 1
        if missing == 0:
            return
    raise VideoError("decode", f"the video gave {counted(missing, 'frame')} fewer when it was read again")


def _fitted(pictures: Iterable[torch.Tensor], shape: ClipShape) -> torch.Tensor:
    """Pictures (H, W, 3), scaled as they come, as one tensor (n, h, w, 3)."""
    chunks = [resize_frames(chunk, shape.size) for chunk in _chunks(pictures)]
    sizes = list(dict.fromkeys(tuple(chunk.shape[1:3]) for chunk in chunks))
    if len(sizes) > 1:
        raise VideoError("decode", f"the picture changes from {sizes[0]} to {sizes[1]} pixels; store it with a --size")
    # A copy even of a single piece: without it the heap of a worker that runs for hours was seen to double, in holes.
    return torch.cat(chunks)


def _chunks(pictures: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Stack pictures (H, W, 3) of one size into batches (n, H, W, 3) of at most 64 MiB."""
    batch: list[torch.Tensor] = []
    for picture in pictures:
        if batch and (picture.shape != batch[0].shape or (len(batch) + 1) * picture.numel() > _CHUNK_BYTES):
            yield torch.stack(batch)
            batch = []
        batch.append(picture)
    if batch:
        yield torch.stack(batch)
