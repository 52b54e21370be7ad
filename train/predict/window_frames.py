"""The clips of all windows of a video, out of one reading of it, in memory that does not grow with its length.

A second reading fetches the windows whose number of frames was not foreseen, and only those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from shared.terminal.console import counted, progress
from shared.video.decoding import EARLIEST_SECONDS, open_video
from shared.video.frame_folders import OpenFrameFolder
from shared.video.resizing import FrameSize, resize_frames
from shared.video.shape import FASTEST_FPS, ClipShape
from shared.video.streams import OpenVideo, VideoError, VideoHeader
from train.predict.windows import (
    MICROSECONDS,
    Expectation,
    Span,
    SpanTracker,
    TimeTracker,
    Tracker,
    Windowing,
    frames_of_span,
)
from train.trained.answers import printable

_ALL_KEPT_BYTES = 256 * 1024**2  # of the frames of one window, where it is not clear which of them will be sampled
_MOST_BYTES = 1024**3
_LONGEST_STEP_SECONDS = 3600.0  # from one frame to the next: beyond, the times of a file are wrong


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowClip:
    """The clip of one window."""

    span: Span
    frames: npt.NDArray[np.uint8] | None
    """uint8 (T·K, H, W, 3); None where no frame is shown in the window."""


class TimesFail(Exception):  # noqa: N818 (no error: the frames are counted instead)
    """The times in a file cannot be those of its frames: some are missing at the start, fall, or jump by hours."""


class Clock:
    """When each frame is shown, in microseconds since the first: by the times in the file, or by its rate."""

    def __init__(self, *, rate: float, is_timed: bool) -> None:
        """rate: frames a second, 0 where it is not known. Raises VideoError where frames can only be counted."""
        if not is_timed and not rate:
            raise VideoError("open", "it says neither when its frames are shown nor how many there are a second")
        self._rate = rate
        self._is_timed = is_timed
        self._first = self._last = 0.0
        self._step = 1 / rate if rate else 0.0

    def time_of(self, number: int, seconds: float) -> int:
        """The time of the next frame. A single one that lacks it follows the one before. Raises TimesFail."""
        if not self._is_timed:
            self._last = number / self._rate
        elif number == 0:
            if seconds <= EARLIEST_SECONDS:
                raise TimesFail
            self._first = self._last = seconds
        else:
            self._follow(seconds)
        return round((self._last - self._first) * MICROSECONDS)

    def end(self, duration_seconds: float) -> int:
        """When the video ends, whose last frame is shown so long by what the file says."""
        shown = duration_seconds if self._is_timed and duration_seconds > 0 else self._step
        return round((self._last - self._first + shown) * MICROSECONDS)

    def _follow(self, seconds: float) -> None:
        if seconds <= EARLIEST_SECONDS:
            if not self._step:
                raise TimesFail
            self._last += self._step
            return
        step = seconds - self._last
        if not 0 < step <= _LONGEST_STEP_SECONDS:
            raise TimesFail
        self._last = seconds
        self._step = self._step if self._rate else step


def read_windows(
    path: Path,
    shape: ClipShape,
    windowing: Windowing,
    *,
    folder_fps: float,
    is_timed: bool,
) -> Iterator[WindowClip]:
    """The clips of all windows; those that a second reading fetches come last.

    shape: of the clip of a window; its size is known. folder_fps: frames a second of a frame folder, 0 where it is not
    known. is_timed: whether windows go by the times in the file, else by its rate. Raises VideoError where the video
    cannot be read, and TimesFail where times cannot be gone by.
    """
    video = open_video(path, folder_fps=folder_fps)
    rate = rate_of(video.header)
    _check_lengths(windowing, rate=rate)
    size = shape.size
    assert size is not None
    sampling = _Sampling(shape=shape, size=size)
    tracker = TimeTracker(
        windowing,
        Expectation(rate=rate, totals=video.likely_counts, most_kept=_ALL_KEPT_BYTES // sampling.frame_bytes),
        num_segments=shape.num_segments,
        frames_per_segment=shape.frames_per_segment,
    )
    clock = Clock(rate=rate, is_timed=is_timed)
    missed: list[Span] = []
    name, total = printable(path.name), max(video.likely_counts, default=None)
    with progress(f"predicting {name}", total, unit="frames") as advance:
        for clip in _read(video, tracker, sampling, clock=clock, advance=advance):
            if isinstance(clip, Span):
                missed.append(clip)
                tracker.keep_all()
            else:
                yield clip
    if missed:
        yield from _read_again(open_video(path, folder_fps=folder_fps), missed, sampling, name=name)


def _read_again(
    video: OpenVideo | OpenFrameFolder, spans: Sequence[Span], sampling: _Sampling, *, name: str
) -> Iterator[WindowClip]:
    shape = sampling.shape
    tracker = SpanTracker(spans, num_segments=shape.num_segments, frames_per_segment=shape.frames_per_segment)
    last = max(span.first + span.num_frames for span in spans)
    with progress(f"reading {name} again, for {counted(len(spans), 'window')}", last, unit="frames") as advance:
        for clip in _read(video, tracker, sampling, clock=None, advance=advance):
            if isinstance(clip, Span):
                raise VideoError("decode", "the video gave other frames when it was read again")
            yield clip
    if not tracker.is_done:
        raise VideoError("decode", "the video gave fewer frames when it was read again")


def rate_of(header: VideoHeader) -> float:
    """Frames a second by the header, 0 where it says nothing or what is no camera's rate."""
    return header.fps if 0 < header.fps <= FASTEST_FPS else 0.0


def _check_lengths(windowing: Windowing, *, rate: float) -> None:
    """Raise VideoError where a window or a stride is shorter than a frame is shown."""
    for name, length in (("--window", windowing.length), ("--stride", windowing.stride)):
        if rate and length * rate < 0.99 * MICROSECONDS:
            raise VideoError(
                "open", f"{name} is {length / MICROSECONDS:g} s, and a frame of it is shown for {1 / rate:.3g} s"
            )


@dataclass(frozen=True, kw_only=True)
class _Sampling:
    """How a span becomes a clip out of the frames that were kept, which have their final size."""

    shape: ClipShape
    size: FrameSize

    @property
    def frame_bytes(self) -> int:
        return self.size.height * self.size.width * 3

    def clip_of(self, span: Span, kept: dict[int, torch.Tensor]) -> WindowClip | Span:
        """The span itself where a frame is lacking."""
        if not span.num_frames:
            return WindowClip(span=span, frames=None)
        num_segments, per_segment = self.shape.num_segments, self.shape.frames_per_segment
        numbers = frames_of_span(span, num_segments=num_segments, frames_per_segment=per_segment)
        if any(number not in kept for number in numbers):
            return span
        return WindowClip(span=span, frames=torch.stack([kept[number] for number in numbers]).numpy())


def _read(
    video: OpenVideo | OpenFrameFolder,
    tracker: Tracker,
    sampling: _Sampling,
    *,
    clock: Clock | None,
    advance: Callable[[int], None],
) -> Iterator[WindowClip | Span]:
    """One reading, to its end or until the tracker is done. Spans of which a frame was not kept come as they are."""
    kept: dict[int, torch.Tensor] = {}
    over: list[Span] = []

    def choose(number: int, seconds: float) -> bool:
        over.extend(tracker.see(number, 0 if clock is None else clock.time_of(number, seconds)))
        return tracker.wants(number)

    num_frames, last_duration = 0, 0.0
    for frame in video.choose_frames(choose):
        yield from (sampling.clip_of(span, kept) for span in over)
        over.clear()
        if tracker.is_done:
            return
        _forget(kept, before=tracker.oldest)
        if frame.picture is not None:
            kept[num_frames] = resize_frames(frame.picture[None], sampling.size)[0]
            _check_room(kept, sampling)
        num_frames, last_duration = num_frames + 1, frame.duration_seconds
        advance(1)
    if not num_frames:
        raise VideoError("decode", "no frame decodes")
    end = 0 if clock is None else clock.end(last_duration)
    yield from (sampling.clip_of(span, kept) for span in tracker.finish(num_frames=num_frames, end=end))


def _forget(kept: dict[int, torch.Tensor], *, before: int) -> None:
    """Let go of frames, which lie in their order, that no window needs any more."""
    while kept and (first := next(iter(kept))) < before:
        del kept[first]


def _check_room(kept: dict[int, torch.Tensor], sampling: _Sampling) -> None:
    if len(kept) * sampling.frame_bytes > _MOST_BYTES:
        raise VideoError(
            "decode",
            f"so many windows overlap that more than {_MOST_BYTES / 1024**3:g} GiB of frames would be held at once; "
            "choose a larger --stride",
        )
