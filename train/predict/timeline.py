"""P(action) over time: the answer for every window of a long video."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.video.streams import VideoError
from train.data.views import Views
from train.predict.answering import clip_views, shape_and_rows, shares_of
from train.predict.inputs import Input
from train.predict.window_frames import TimesFail, WindowClip, read_windows
from train.predict.windows import MICROSECONDS, Windowing
from train.trained.clips import NO_NUMBERS
from train.trained.model import LoadedModel

Floats = npt.NDArray[np.float64]
NOTHING_SHOWN = "no frame is shown in this window"
_NO_RATE = "; give the frames a second of its pictures with --fps"


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowAnswer:
    """What is said of one window of a video."""

    start: float
    """Seconds since the first frame."""
    end: float
    num_frames: int
    """Of the video, that fall into the window."""
    probabilities: Floats | None
    """P(action | window), (classes,), summing to 1; None where no frame is shown in the window."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """The answers for a video, window by window, or an error."""

    video: str
    windows: tuple[WindowAnswer, ...] = ()
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Windows that follow one another and have the same most probable action."""

    label: int
    """Of that action."""
    windows: tuple[WindowAnswer, ...]

    @property
    def mean(self) -> Floats:
        """Mean probabilities of the windows, (classes,)."""
        mean: Floats = np.mean([each.probabilities for each in self.windows if each.probabilities is not None], axis=0)
        return mean


def stretches(windows: Iterable[WindowAnswer]) -> Iterator[Stretch]:
    """Join windows with the same most probable action; those in which nothing is shown are left out and part others."""
    groups = itertools.groupby(
        windows, key=lambda each: -1 if each.probabilities is None else int(each.probabilities.argmax())
    )
    return (Stretch(label=label, windows=tuple(group)) for label, group in groups if label >= 0)


def answer_over_time(
    loaded: LoadedModel, each: Input, *, views: Views, windowing: Windowing, batch_size: int, folder_fps: float = 0.0
) -> Timeline:
    """Decode one video once and answer for its windows. What is wrong with the video becomes the error."""
    if each.error:
        return Timeline(video=each.name, error=each.error)
    is_folder = Path(each.name).is_dir()
    try:
        for is_timed in (not is_folder, False):
            try:
                windows = _answers(
                    loaded,
                    each,
                    views=views,
                    windowing=windowing,
                    batch_size=batch_size,
                    folder_fps=folder_fps,
                    is_timed=is_timed,
                )
            except TimesFail:
                continue
            return Timeline(video=each.name, windows=windows)
    except VideoError as error:
        return Timeline(video=each.name, error=str(error) + (_NO_RATE if is_folder and not folder_fps else ""))
    except (OSError, MemoryError) as error:
        return Timeline(video=each.name, error=str(error) or "out of memory")
    raise AssertionError("frames that are counted have no times that fail")


def _answers(
    loaded: LoadedModel,
    each: Input,
    *,
    views: Views,
    windowing: Windowing,
    batch_size: int,
    folder_fps: float,
    is_timed: bool,
) -> tuple[WindowAnswer, ...]:
    shape, rows = shape_and_rows(loaded, views)
    image_size = loaded.model.config.image_size
    clips = read_windows(Path(each.name), shape, windowing, folder_fps=folder_fps, is_timed=is_timed)
    found: dict[int, WindowAnswer] = {}
    while batch := list(itertools.islice(clips, batch_size)):
        viewed = [
            clip_views(clip.frames, rows, image_size=image_size, num_crops=views.num_crops)
            for clip in batch
            if clip.frames is not None
        ]
        shares = iter(shares_of(loaded, viewed) if viewed else ())
        for clip in batch:
            found[clip.span.number] = _window_answer(clip, windowing, None if clip.frames is None else next(shares))
    return tuple(found[number] for number in sorted(found))


def _window_answer(clip: WindowClip, windowing: Windowing, shares: Floats | None) -> WindowAnswer:
    """Raises VideoError where the model's answer is no number."""
    if shares is not None and not np.isfinite(shares).all():
        raise VideoError("predict", NO_NUMBERS)
    return WindowAnswer(
        start=clip.span.number * windowing.stride / MICROSECONDS,
        end=clip.span.end / MICROSECONDS,
        num_frames=clip.span.num_frames,
        probabilities=shares,
    )
