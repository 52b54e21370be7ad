"""Windows over a video: which frames fall into each, against a plain search through all times, and what is kept."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UsageError
from shared.video.sampling import candidate_frames
from shared.video.streams import VideoError
from train.predict.window_frames import Clock, TimesFail
from train.predict.windows import (
    Expectation,
    Span,
    SpanTracker,
    TimeTracker,
    Windowing,
    frames_of_span,
    make_windowing,
)

T, K = 4, 3


def tracker_of(windowing: Windowing, *, rate: float, totals: tuple[int, ...], most_kept: int = 10**6) -> TimeTracker:
    return TimeTracker(
        windowing,
        Expectation(rate=rate, totals=totals, most_kept=most_kept),
        num_segments=T,
        frames_per_segment=K,
    )


def seen(tracker: TimeTracker | SpanTracker, times: list[int], *, end: int) -> tuple[list[Span], list[Span], int]:
    """All spans, those that lacked a frame when they were over, and the most frames held at once."""
    kept: set[int] = set()
    spans, lacking, most = [], [], 0

    def take(over: list[Span]) -> None:
        for span in over:
            spans.append(span)
            if span.num_frames and not set(frames_of_span(span, num_segments=T, frames_per_segment=K)) <= kept:
                lacking.append(span)

    for number, time in enumerate(times):
        take(tracker.see(number, time))
        kept = {frame for frame in kept if frame >= tracker.oldest}
        if tracker.wants(number):
            kept.add(number)
        most = max(most, len(kept))
    take(tracker.finish(num_frames=len(times), end=end))
    return spans, lacking, most


def searched(windowing: Windowing, times: list[int], *, end: int) -> list[Span]:
    """The spans by the definition: every window is compared with every time."""
    spans = []
    for number in itertools.count():
        start = number * windowing.stride
        inside = [frame for frame, time in enumerate(times) if start <= time < start + windowing.length]
        is_last = all(time < start + windowing.length for time in times)
        first = inside[0] if inside else next(frame for frame, time in enumerate(times) if time >= start)
        stop = start + windowing.length
        spans.append(Span(number=number, first=first, num_frames=len(inside), end=min(stop, end) if is_last else stop))
        if is_last:
            return spans
    raise AssertionError


@given(
    steps=st.lists(st.integers(1, 400_000), min_size=1, max_size=60),
    length=st.integers(10_000, 3_000_000),
    share=st.floats(0.05, 1.0),
    rate=st.sampled_from([0.0, 5.0, 30.0]),
    knows_total=st.booleans(),
)
def test_spans_are_those_of_a_search_through_all_times(
    steps: list[int], length: int, share: float, rate: float, knows_total: bool
) -> None:
    times = [0, *itertools.accumulate(steps)]
    end = times[-1] + 40_000
    windowing = Windowing(length=length, stride=max(5_000, round(length * share)))
    tracker = tracker_of(windowing, rate=rate, totals=(len(times),) if knows_total else ())
    spans, lacking, _ = seen(tracker, times, end=end)
    expected = searched(windowing, times, end=end)
    assert [(each.number, each.first, each.num_frames) for each in spans] == [
        (each.number, each.first, each.num_frames) for each in expected
    ]
    assert [each.end for each in spans[:-1]] == [each.end for each in expected[:-1]]
    assert abs(spans[-1].end - expected[-1].end) <= 2_000  # whole milliseconds are no sooner end
    again, never, _ = seen(SpanTracker(lacking, num_segments=T, frames_per_segment=K), times, end=end)
    assert not never and again == lacking  # what a second reading fetches is whole


@pytest.mark.parametrize("rate", [24.0, 30.0, 30000 / 1001])
@pytest.mark.parametrize(("length", "stride"), [(2_000_000, 1_000_000), (10_000_000, 10_000_000), (700_000, 333_333)])
def test_of_steady_frames_one_reading_is_enough_and_few_are_kept(rate: float, length: int, stride: int) -> None:
    times = [round(frame * 1e6 / rate) for frame in range(3000)]
    tracker = tracker_of(Windowing(length=length, stride=stride), rate=rate, totals=(3000, 3001))
    _, lacking, most = seen(tracker, times, end=round(3000e6 / rate))
    assert not lacking
    assert most <= 3 * T * K * -(-length // stride) + 1


def test_rounded_times_and_an_unknown_end_need_one_reading_too() -> None:
    times = [round(frame * 1000 / 23.976) * 1000 for frame in range(1000)]  # whole milliseconds, as in Matroska
    _, lacking, _ = seen(tracker_of(Windowing(length=1_500_000, stride=500_000), rate=23.976, totals=()), times, end=0)
    assert not lacking


def test_frames_of_an_uneven_video_are_kept_once_a_guess_was_wrong() -> None:
    times = list(itertools.accumulate([1, *([10_000, 60_000, 20_000] * 300)]))
    tracker = tracker_of(Windowing(length=5_000_000, stride=5_000_000), rate=50.0, totals=(len(times),))
    _, lacking, _ = seen(tracker, times, end=times[-1])
    assert lacking
    tracker = tracker_of(Windowing(length=5_000_000, stride=5_000_000), rate=50.0, totals=(len(times),))
    tracker.keep_all()
    assert not seen(tracker, times, end=times[-1])[1]


def test_one_window_over_everything_samples_as_the_whole_video_does() -> None:
    times = [frame * 40_000 for frame in range(100)]
    tracker = tracker_of(Windowing(length=10**12, stride=10**12), rate=25.0, totals=(100,))
    (span,), lacking, _ = seen(tracker, times, end=4_000_000)
    assert (span.first, span.num_frames, span.end, lacking) == (0, 100, 4_000_000, [])
    expected = candidate_frames(100, num_segments=T, frames_per_segment=K).tolist()
    assert frames_of_span(span, num_segments=T, frames_per_segment=K) == expected


@pytest.mark.parametrize(
    ("window", "stride", "text"),
    [
        (None, 1.0, "--stride needs --window"),
        (0.0, None, "--window is 0"),
        (-1.0, None, "--window is -1"),
        (2.0, 0.0, "--stride is 0"),
        (2.0, -1.0, "--stride is -1"),
        (2.0, 3.0, "at most 2"),
        (float("nan"), None, "--window is nan"),
        (float("inf"), None, "--window is inf"),
        (2.0, float("nan"), "--stride is nan"),
    ],
)
def test_windows_that_make_no_sense_are_refused(window: float | None, stride: float | None, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        make_windowing(window=window, stride=stride)


def test_a_stride_that_is_not_given_is_the_window() -> None:
    assert make_windowing(window=None, stride=None) is None
    assert make_windowing(window=2.5, stride=None) == Windowing(length=2_500_000, stride=2_500_000)
    assert make_windowing(window=2.5, stride=0.5) == Windowing(length=2_500_000, stride=500_000)


# The clock


def test_times_begin_with_the_first_frame_and_one_that_is_missing_follows() -> None:
    clock = Clock(rate=25.0, is_timed=True)
    assert [clock.time_of(*each) for each in ((0, 1.4), (1, 1.44), (2, -1e12), (3, 1.52))] == [0, 40000, 80000, 120000]
    assert clock.end(0.05) == 170_000 and clock.end(0.0) == 160_000


@pytest.mark.parametrize("seconds", [(-1e12,), (0.0, 0.0), (0.0, 0.1, 0.05), (0.0, 90_000.0)])
def test_times_that_cannot_be_are_not_gone_by(seconds: tuple[float, ...]) -> None:
    clock = Clock(rate=25.0, is_timed=True)
    with pytest.raises(TimesFail):
        for number, each in enumerate(seconds):
            clock.time_of(number, each)


def test_frames_are_counted_where_there_are_no_times() -> None:
    clock = Clock(rate=30.0, is_timed=False)
    assert [clock.time_of(number, -1e12) for number in range(4)] == [0, 33333, 66667, 100000]
    assert clock.end(0.0) == 133_333
    with pytest.raises(VideoError, match="how many there are a second"):
        Clock(rate=0.0, is_timed=False)
