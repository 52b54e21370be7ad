"""Every frame of a video file, once and in order, as the ffmpeg command gives them.

Indexed access (``VideoDecoder.get_frames_at``) returns wrong frames on HMDB51: its files are MPEG-4 in AVI with packed
B-frames and no presentation times, and their headers count one frame too many (torchcodec issue 1363). Reading frame
after frame until the decoder has no more gives what ``ffmpeg -threads 1`` gives, the last frame included. There are two
ways to do so, and the tests hold both to that: torchcodec's decoder blocks, public from 0.17 on, which convert only the
frames that are wanted; and before that a private function of it, which converts every frame.

Pictures are RGB as the codec gives them: a rotation in the container is applied, to the nearest quarter turn; pixels
that are not square stay as they are, and ``VideoHeader.sample_aspect_ratio`` says so.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from shared.errors import DataError, first_line

EVERY_FRAME = range(sys.maxsize)
Choice = Callable[[int, float], bool]  # whether a frame is wanted, by its number and by when it is shown (seconds)
# A file whose reading fails would fail for ever, and no video has so many packets without a frame.
_MOST_ERRORS_IN_A_ROW = 10_000
_NO_VIDEO_STREAM = "it has no video stream"
_FEW_FRAMES = 64
_FEW_BYTES = 64 * 1024**2  # of a file whose packets may all be in memory


class VideoError(DataError):
    """A video that gives no clip. ``stage`` is where it failed: ``open`` or ``decode``."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return VideoError, (self.stage, str(self))


@dataclass(frozen=True, kw_only=True)
class VideoHeader:
    """What a container says of its video. None of it is relied on."""

    codec: str
    fps: float
    """Frames a second; 0 where the container says nothing."""
    width: int
    height: int
    num_frames: int
    """-1 where the container says nothing."""
    sample_aspect_ratio: float
    """The width of a pixel of the pictures, turned as they are, by its height; 1 where the container says nothing."""
    turn_left_out: float = 0.0
    """Degrees, -45 to 45, that the pictures would have to be turned further: what the nearest quarter turn leaves."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoFrame:
    """One frame of a video."""

    picture: torch.Tensor | None
    """uint8 (H, W, 3) RGB; None where it was not wanted."""
    seconds: float
    """When it is shown; less than -1e9 where the file does not say."""
    duration_seconds: float
    """How long it is shown, as the file says."""


class _Reader(Protocol):
    """A file opened for one reading.

    errors: what did not decode so far. num_packets: as many frames are likely; None where packets are not counted.
    """

    metadata: Any
    errors: int
    num_packets: int | None

    def read(self, choose: Choice) -> Iterator[VideoFrame]: ...


class OpenVideo:
    """A video opened for one sequential read. Not to be shared between threads: that crashes the process."""

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        if not path.is_file():
            raise VideoError("open", "no such file")
        if path.stat().st_size == 0:
            raise VideoError("open", "the file is empty (0 bytes)")
        self._path = path
        try:
            self._reader = open_reader(path, device=device)
        except (RuntimeError, ValueError, TypeError) as error:
            raise VideoError("open", f"not a video that FFmpeg can open: {_reason(error, path)}") from error
        self.header = _header_of(self._reader.metadata)

    @property
    def likely_counts(self) -> tuple[int, ...]:
        """Numbers of frames, one of which is nearly always right: by the packets, or by the header.

        Packets are as many as frames, or one more (HMDB51's). Headers count one or two too many, those of short videos
        any number (J-HMDB's, 8 of 40).
        """
        num_packets, in_header = self._reader.num_packets, self.header.num_frames
        if num_packets is not None:
            counts = range(num_packets - 1, num_packets + 1)
        elif in_header <= _FEW_FRAMES:
            counts = range(1, in_header + 1)
        else:
            counts = range(in_header - 2, in_header + 1)
        return tuple(count for count in counts if count > 0)

    @property
    def decode_errors(self) -> int:
        """How many packets did not decode, of those read so far. The reading goes on after them."""
        return self._reader.errors

    def read_frames(self, wanted: Container[int] = EVERY_FRAME) -> Iterator[VideoFrame]:
        """Yield every frame that decodes, in order of presentation, with the pictures of those whose number is wanted.

        Works once per object. Raises VideoError where a picture cannot be converted.
        """
        yield from self.choose_frames(lambda number, seconds: number in wanted)

    def choose_frames(self, choose: Choice) -> Iterator[VideoFrame]:
        """The same with the pictures that ``choose`` takes. It is asked of every frame once, before it is yielded."""
        try:
            yield from self._reader.read(choose)
        except (RuntimeError, ValueError) as error:
            raise VideoError("decode", f"decoding failed: {_reason(error, self._path)}") from error


def _header_of(metadata: Any) -> VideoHeader:
    degrees = float(metadata.rotation or 0.0)
    quarter_turns = round(degrees / 90)
    aspect_ratio = float(metadata.pixel_aspect_ratio or 1.0)  # of the pictures before they are turned
    return VideoHeader(
        codec=metadata.codec or "",
        fps=float(metadata.average_fps_from_header or 0.0),
        width=int(metadata.width or 0),
        height=int(metadata.height or 0),
        num_frames=-1 if metadata.num_frames_from_header is None else int(metadata.num_frames_from_header),
        sample_aspect_ratio=1 / aspect_ratio if quarter_turns % 2 else aspect_ratio,
        turn_left_out=degrees - 90 * quarter_turns,
    )


def open_reader(path: Path, *, device: str) -> _Reader:
    """Open a video by torchcodec's public decoder blocks where it has them, else by its private function."""
    from torchcodec import decoders

    reader = PacketReader if hasattr(decoders, "Demuxer") else FrameReader
    # The absolute path, because FFmpeg takes what stands before a colon in "a:b.avi" for a protocol.
    return reader(str(path.absolute()), device=device)


class PacketReader:
    """By the decoder blocks: packets from the file, frames from the packets, pictures from the frames wanted.

    The packets of a file that is not large are read at once, so that they are counted before any is decoded.
    """

    def __init__(self, file: str, *, device: str) -> None:
        from torchcodec.decoders import ColorConverter, Demuxer

        try:
            self._demuxer = Demuxer(file)
        except ValueError as error:
            raise ValueError(_NO_VIDEO_STREAM if "No valid video stream" in str(error) else str(error)) from error
        (stream,) = self._demuxer.streams
        self._decoder = stream.make_decoder(device=device, num_ffmpeg_threads=1)
        self._converter = ColorConverter(device=device)
        self.metadata = stream.metadata
        self.errors = 0
        self._packets: Iterable[Any] = self._read_packets()
        self.num_packets: int | None = None
        if Path(file).stat().st_size <= _FEW_BYTES:
            self._packets = list(self._packets)
            self.num_packets = len(self._packets)

    def read(self, choose: Choice) -> Iterator[VideoFrame]:
        number = 0
        for decoded in self._decode():
            while decoded:
                frame = decoded.pop(0)
                seconds, duration_seconds = frame.pts_seconds, frame.duration_seconds
                is_wanted = choose(number, seconds)
                picture = self._converter.convert(frame).data.permute(1, 2, 0) if is_wanted else None
                # FFmpeg decodes the next frame into this one's memory, and of a damaged one what lay there may be seen:
                # held any longer, the picture would not be what the ffmpeg command shows.
                del frame
                yield VideoFrame(picture=picture, seconds=seconds, duration_seconds=duration_seconds)
                number += 1

    def _read_packets(self) -> Iterator[Any]:
        try:
            yield from self._demuxer
        except RuntimeError:  # the file cannot be read on: its end, as for the ffmpeg command
            self.errors += 1

    def _decode(self) -> Iterator[list[Any]]:
        for packet in self._packets:
            try:
                decoded = self._decoder.decode(packet)
            except RuntimeError:
                self.errors += 1
                continue
            yield decoded
        yield self._decoder.drain()


class FrameReader:
    """By ``get_next_frame``, private to torchcodec; the functions used here are the same from 0.11 to 0.17.

    It differs from the blocks in that every picture is converted, and in the count of errors where a file cannot be
    read to its end.
    """

    def __init__(self, file: str, *, device: str) -> None:
        from torchcodec._core import get_container_metadata, ops

        # VideoDecoder itself refuses raw streams and live recordings, which give no duration.
        self._decoder = ops.create_from_file(file, "approximate")  # "exact" would scan the whole file
        container = get_container_metadata(self._decoder)
        index = container.best_video_stream_index
        if index is None:
            raise ValueError(_NO_VIDEO_STREAM)
        ops.add_video_stream(self._decoder, stream_index=index, dimension_order="NHWC", num_threads=1, device=device)
        self.metadata = container.streams[index]
        self.errors = 0
        self.num_packets: int | None = None

    def read(self, choose: Choice) -> Iterator[VideoFrame]:
        from torchcodec._core import get_next_frame

        number = in_a_row = 0
        while in_a_row < _MOST_ERRORS_IN_A_ROW:
            try:
                picture, seconds, duration_seconds = get_next_frame(self._decoder)
            except IndexError:
                return
            except RuntimeError:  # the next call goes on with the next packet
                self.errors += 1
                in_a_row += 1
                continue
            yield VideoFrame(
                picture=picture if choose(number, seconds.item()) else None,
                seconds=seconds.item(),
                duration_seconds=duration_seconds.item(),
            )
            number += 1
            in_a_row = 0


def _reason(error: BaseException, path: Path) -> str:
    """What FFmpeg says, in one line. A path is shortened to its name, so that a manifest says the same wherever its
    videos lie.
    """
    text = str(error)
    for form in sorted({str(path.resolve()), str(path.absolute()), str(path)}, key=len, reverse=True):
        text = text.replace(form, path.name)
    # torchcodec puts the place in its C++ source in front of what FFmpeg said.
    return first_line(re.sub(r"^.*\.(cpp|h):\d+, ", "", text.strip()) or error)
