"""Windows over a long video: which frames fall into each, and which of them are worth keeping while they pass by.

All times are whole microseconds since the first frame, so that no rounding adds up: window k is
[k·stride, k·stride + length). Windows are opened until one reaches the end of the video; that one ends there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.errors import UsageError
from shared.video.sampling import candidate_frames

MICROSECONDS = 1_000_000
_SHORTEST_SECONDS = 0.001
_LONGEST_SECONDS = 1e7  # more than a hundred days
_SAME_END = 2000  # microseconds: the times of some containers are whole milliseconds


@dataclass(frozen=True, kw_only=True)
class Windowing:
    """How long windows are and how far apart they begin, in microseconds."""

    length: int
    stride: int


@dataclass(frozen=True, kw_only=True)
class Span:
    """A window that is over: its frames are ``first`` to ``first + num_frames - 1`` of the video, or none."""

    number: int
    """k, from 0."""
    first: int
    num_frames: int
    end: int
    """In microseconds: of the window, or of the video where that ends first."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What is known of a video before it is read. None of it is relied on."""

    rate: float
    """Frames a second, 0 where nothing is known."""
    totals: tuple[int, ...]
    """Numbers of frames, one of which is likely; empty where nothing is known."""
    most_kept: int
    """Frames of one window that may all be kept."""


class Tracker(Protocol):
    """Told of every frame in turn, it says which spans are over and which pictures they need."""

    def see(self, number: int, time: int) -> list[Span]:
        """A frame comes: the spans that are over before it."""
        ...

    def wants(self, number: int) -> bool:
        """Whether an open span may need the frame that was seen last."""
        ...

    def finish(self, *, num_frames: int, end: int) -> list[Span]:
        """The video is over, after so many frames, at this time: the spans that end with it."""
        ...

    @property
    def oldest(self) -> int:
        """The first frame that an open span may need; a huge number where none is open."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether no frame is needed any more."""
        ...


NO_FRAME = 2**62


def make_windowing(*, window: float | None, stride: float | None) -> Windowing | None:
    """The windows that ``--window`` and ``--stride`` (seconds) ask for, None without a window.

    Without a stride the windows follow one another. Raises UsageError for a stride without a window or above it, and
    for what is no length of time.
    """
    if window is None:
        if stride is not None:
            raise UsageError("--stride needs --window, the seconds that each prediction looks at")
        return None
    for name, seconds in (("--window", window), ("--stride", stride)):
        if seconds is not None and not _SHORTEST_SECONDS <= seconds <= _LONGEST_SECONDS:
            raise UsageError(f"{name} is {seconds:g}; it must be from {_SHORTEST_SECONDS:g} to {_LONGEST_SECONDS:g} s")
    stride = window if stride is None else stride
    if stride > window:
        raise UsageError(
            f"--stride is {stride:g} s and --window {window:g} s: what lies between two windows would not be looked "
            f"at; choose a stride of at most {window:g}"
        )
    return Windowing(length=round(window * MICROSECONDS), stride=round(stride * MICROSECONDS))


def frames_of_span(span: Span, *, num_segments: int, frames_per_segment: int) -> list[int]:
    """Numbers in the video of the T·K frames of a span's clip, sampled as those of a video of ``num_frames`` are."""
    offsets = candidate_frames(span.num_frames, num_segments=num_segments, frames_per_segment=frames_per_segment)
    return [span.first + offset for offset in offsets.tolist()]


@dataclass(frozen=True, kw_only=True)
class _Open:
    number: int
    first: int
    end: int


class TimeTracker:
    """Finds the spans by the times of the frames.

    How many frames a window holds is known when it is over, and which of them are sampled depends on it. So while it
    is open, those are kept that are sampled if it holds as many as the rate says, or one more or less. Once that was
    wrong, or where nobody knows when the video ends, all are kept, if there are not too many.
    """

    def __init__(
        self, windowing: Windowing, expectation: Expectation, *, num_segments: int, frames_per_segment: int
    ) -> None:
        self._windowing = windowing
        self._expectation = expectation
        self._sampling = (num_segments, frames_per_segment)
        self._keeps_all = not expectation.totals
        self._open: deque[_Open] = deque()
        self._num_opened = 0
        self._wanted: set[int] = set()

    def keep_all(self) -> None:
        """Keep every frame of the windows that open from now on, as guesses have proved wrong."""
        self._keeps_all = True

    @property
    def oldest(self) -> int:
        """See Tracker."""
        return self._open[0].first if self._open else NO_FRAME

    @property
    def is_done(self) -> bool:
        """See Tracker: never, as there may always be another window."""
        return False

    def see(self, number: int, time: int) -> list[Span]:
        """See Tracker. ``time``: when the frame is shown, in microseconds."""
        over = []
        while self._open and self._open[0].end <= time:
            window = self._open.popleft()
            over.append(_span(window, num_frames=number - window.first))
        while (start := self._num_opened * self._windowing.stride) <= time:
            window = _Open(number=self._num_opened, first=number, end=start + self._windowing.length)
            self._num_opened += 1
            if window.end <= time:  # nothing was shown in it
                over.append(_span(window, num_frames=0))
            else:
                self._open.append(window)
                self._wanted.update(self._likely_frames(window, left=window.end - time))
        self._wanted.discard(number - 1)
        return over

    def wants(self, number: int) -> bool:
        """See Tracker."""
        return number in self._wanted

    def finish(self, *, num_frames: int, end: int) -> list[Span]:
        """See Tracker. Of the windows that reach the end only the first one counts: the others lie within it."""
        if not self._open:
            return []
        window = self._open[0]
        self._open.clear()
        is_whole = end > window.end - _SAME_END
        return [_span(window, num_frames=num_frames - window.first, end=window.end if is_whole else end)]

    def _likely_frames(self, window: _Open, *, left: int) -> Iterable[int]:
        rate = self._expectation.rate
        counts = likely_counts(window.first, left=left, expectation=self._expectation)
        most = math.ceil(left * rate / MICROSECONDS) + 1
        if rate and self._keeps_all and most <= self._expectation.most_kept:
            return range(window.first, window.first + most)
        num_segments, per_segment = self._sampling
        return {
            window.first + offset
            for count in counts
            for offset in candidate_frames(count, num_segments=num_segments, frames_per_segment=per_segment).tolist()
        }


def likely_counts(first: int, *, left: int, expectation: Expectation) -> set[int]:
    """How many frames are likely in a window whose first frame is ``first``, ``left`` microseconds before its end.

    As many as the rate says, or one more or less, but no more than the video has left.
    """
    count = math.ceil(left * expectation.rate / MICROSECONDS)
    counts = {count - 1, count, count + 1} if expectation.rate else set()
    for total in expectation.totals:
        counts |= {min(each, total - first) for each in counts} or {total - first}
    return {each for each in counts if each > 0}


class SpanTracker:
    """Takes spans that are known, such as those that a TimeTracker has found; times mean nothing to it."""

    def __init__(self, spans: Sequence[Span], *, num_segments: int, frames_per_segment: int) -> None:
        self._coming = deque(sorted(spans, key=lambda span: span.number))
        self._open: deque[Span] = deque()
        self._sampling = (num_segments, frames_per_segment)
        self._wanted: set[int] = set()

    @property
    def oldest(self) -> int:
        """See Tracker."""
        return self._open[0].first if self._open else NO_FRAME

    @property
    def is_done(self) -> bool:
        """See Tracker."""
        return not self._coming and not self._open

    def see(self, number: int, time: int) -> list[Span]:
        """See Tracker. ``time`` is not looked at."""
        over = []
        while self._open and self._open[0].first + self._open[0].num_frames <= number:
            over.append(self._open.popleft())
        while self._coming and self._coming[0].first <= number:
            span = self._coming.popleft()
            self._open.append(span)
            num_segments, per_segment = self._sampling
            self._wanted.update(frames_of_span(span, num_segments=num_segments, frames_per_segment=per_segment))
        self._wanted.discard(number - 1)
        return over

    def wants(self, number: int) -> bool:
        """See Tracker."""
        return number in self._wanted

    def finish(self, *, num_frames: int, end: int) -> list[Span]:
        """See Tracker."""
        over = list(self._open)
        self._open.clear()
        return over


def _span(window: _Open, *, num_frames: int, end: int | None = None) -> Span:
    return Span(
        number=window.number,
        first=window.first,
        num_frames=num_frames,
        end=window.end if end is None else end,
    )
