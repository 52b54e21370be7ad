"""Exact decoding: every frame of a video, once, in order, and the T·K of them that make its clip.

Indexed access (``VideoDecoder.get_frames_at``) returns wrong frames on HMDB51: its files are MPEG-4 in AVI with packed
B-frames and no presentation times, and their headers count one frame too many (torchcodec issue 1363). Reading frame
after frame until the decoder has no more gives what the ffmpeg command gives, the last frame included. The function
that does so is private to torchcodec and stands in its wheels from 0.11 to 0.17; one place calls it, ``read_frames``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch

from shared.errors import DataError
from shared.video.resizing import resize_frames
from shared.video.sampling import candidate_frames, num_padded_frames
from shared.video.shape import ClipShape

if TYPE_CHECKING:
    from torchcodec.decoders import VideoDecoder

# A header is trusted for nothing, but it is nearly right: the frames that it and its neighbours would ask for are kept
# while counting, so that one pass is enough for all but odd files.
_HEADER_EXCESS = (0, 1, 2)
_SPECULATION_BYTES = 256 * 1024**2
_CHUNK_BYTES = 64 * 1024**2


class VideoError(DataError):
    """A video that gives no clip. ``stage`` is where it failed: ``open`` or ``decode``."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return VideoError, (self.stage, str(self))


@dataclass(frozen=True, kw_only=True)
class VideoHeader:
    """What a container says of its video. ``num_frames`` is -1 where it says nothing; it is never relied on."""

    codec: str
    fps: float
    width: int
    height: int
    num_frames: int


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedClip:
    """The rows of one clip. frames: uint8 (T·K, H, W, 3) RGB; frame_index: int32 (T·K,), each row's frame number."""

    frames: torch.Tensor
    frame_index: npt.NDArray[np.int32]
    num_frames: int
    num_padded: int
    header: VideoHeader
    decoder: str


class OpenVideo:
    """A video opened for one sequential read. Not to be shared between threads: that crashes the process."""

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        if not path.is_file():
            raise VideoError("open", f"no such file: {path}")
        if path.stat().st_size == 0:
            raise VideoError("open", "the file is empty (0 bytes)")
        try:
            decoder = _open_decoder(path, device=device)
        except (RuntimeError, ValueError, TypeError) as error:
            raise VideoError("open", f"not a video that FFmpeg can open: {first_line(error, path)}") from error
        metadata = decoder.metadata
        self._path = path
        self._decoder = decoder
        self.header = VideoHeader(
            codec=metadata.codec or "",
            fps=float(metadata.average_fps_from_header or 0.0),
            width=int(metadata.width or 0),
            height=int(metadata.height or 0),
            num_frames=-1 if metadata.num_frames_from_header is None else int(metadata.num_frames_from_header),
        )

    def read_frames(self) -> Iterator[torch.Tensor]:
        """Yield every frame that decodes, in order of presentation: uint8 (H, W, 3) RGB. Works once per object.

        Raises VideoError where FFmpeg fails in the middle or the picture changes its size.
        """
        from torchcodec._core import get_next_frame

        shape: torch.Size | None = None
        while True:
            try:
                frame = get_next_frame(self._decoder._decoder)[0]
            except IndexError:
                return
            except (RuntimeError, ValueError) as error:
                raise VideoError("decode", f"decoding failed: {first_line(error, self._path)}") from error
            if shape is not None and frame.shape != shape:
                raise VideoError(
                    "decode",
                    f"the picture changes from {tuple(shape[:2])} to {tuple(frame.shape[:2])} pixels",
                )
            shape = frame.shape
            yield frame


def _open_decoder(path: Path, *, device: str) -> VideoDecoder:
    from torchcodec.decoders import VideoDecoder

    def open_with(seek_mode: Literal["exact", "approximate"]) -> VideoDecoder:
        # The absolute path, because FFmpeg takes what stands before a colon in "a:b.avi" for a protocol.
        return VideoDecoder(
            str(path.absolute()), dimension_order="NHWC", num_ffmpeg_threads=1, device=device, seek_mode=seek_mode
        )

    try:
        return open_with("approximate")  # spares a scan of the whole file; its index is not used here
    except ValueError:
        return open_with("exact")  # the container gives no duration (a live recording): torchcodec wants a scan


def read_header(path: Path) -> VideoHeader:
    """What the container says, without decoding a frame. Raises VideoError where FFmpeg cannot open it."""
    return OpenVideo(path).header


def decode_clip(path: Path, shape: ClipShape, *, device: str = "cpu") -> DecodedClip:
    """Decode the T·K rows of a video's clip, exactly, and fit them into ``shape.size``.

    Memory is bounded by the rows and some 256 MiB, however long the video. Raises VideoError where no frame decodes or
    FFmpeg fails.
    """
    video = OpenVideo(path, device=device)
    wanted = _speculative_frames(video.header, shape)
    kept: dict[int, torch.Tensor] = {}
    num_frames = 0
    for frame in video.read_frames():
        if num_frames in wanted:
            kept[num_frames] = frame
        num_frames += 1
    if num_frames == 0:
        raise VideoError("decode", "no frame decodes")
    frame_index = _frames_of(num_frames, shape)
    unique_frames, rows = np.unique(frame_index, return_inverse=True)
    if all(int(frame) in kept for frame in unique_frames):
        source: Iterator[torch.Tensor] = (kept[int(frame)] for frame in unique_frames)
    else:
        kept.clear()
        source = _pick_frames(OpenVideo(path, device=device), unique_frames)
    # A copy even of a single piece: without it the heap of a worker that runs for hours was seen to double, in holes.
    unique = torch.cat([resize_frames(chunk, shape.size) for chunk in _chunks(source)])
    return DecodedClip(
        frames=unique if len(unique) == len(rows) else unique[torch.from_numpy(rows).to(unique.device)],
        frame_index=frame_index,
        num_frames=num_frames,
        num_padded=num_padded_frames(num_frames, num_segments=shape.num_segments),
        header=video.header,
        decoder=device.partition(":")[0],
    )


def _frames_of(num_frames: int, shape: ClipShape) -> npt.NDArray[np.int32]:
    return candidate_frames(num_frames, num_segments=shape.num_segments, frames_per_segment=shape.frames_per_segment)


def _speculative_frames(header: VideoHeader, shape: ClipShape) -> frozenset[int]:
    """The frames that would be wanted if the header were right, or too high by one or two."""
    guesses = [header.num_frames - excess for excess in _HEADER_EXCESS if header.num_frames > excess]
    frames = frozenset(int(frame) for guess in guesses for frame in _frames_of(guess, shape))
    if len(frames) * header.height * header.width * 3 > _SPECULATION_BYTES:
        return frozenset()
    return frames


def _pick_frames(video: OpenVideo, wanted: npt.NDArray[np.int32]) -> Iterator[torch.Tensor]:
    position = 0
    for number, frame in enumerate(video.read_frames()):
        if number == wanted[position]:
            yield frame
            position += 1
            if position == len(wanted):
                return
    raise VideoError("decode", f"the video gave {len(wanted) - position} frames fewer when it was read again")


def _chunks(frames: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Stack frames (H, W, 3) into batches (n, H, W, 3) of at most 64 MiB, scaled as they come."""
    batch: list[torch.Tensor] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) * frame.numel() >= _CHUNK_BYTES:
            yield torch.stack(batch)
            batch = []
    if batch:
        yield torch.stack(batch)


def first_line(error: BaseException, path: Path | None = None) -> str:
    """What an error of FFmpeg or torch says, in one line of at most 200 characters. A path is shortened to its name,
    so that a manifest says the same wherever its videos lie.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if path is not None:
        for form in sorted({str(path.resolve()), str(path.absolute()), str(path)}, key=len, reverse=True):
            text = text.replace(form, path.name)
    # torchcodec puts the place in its C++ source in front of what FFmpeg said.
    return re.sub(r"^.*\.(cpp|h):\d+, ", "", text)[:200]
