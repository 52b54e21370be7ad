"""The command to type after a prediction: it explains the video, or the piece of a long one that is clearest."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from shared.next_command import Places, next_command
from train.predict.timeline import Timeline, WindowAnswer


def after_prediction(run: str, video: str, *, places: Places) -> str:
    """The command that explains a video; empty where it is no file."""
    return next_command("predict", [run, video], places=places) if Path(video).is_file() else ""


def after_timelines(run: str, timelines: Sequence[Timeline], *, places: Places) -> str:
    """The commands that cut the window with the most probable action out of its file, and explain it.

    An explanation shows the frames of one answer, so one of a whole long video would say nothing of its windows. The
    last window of a video may be cut short: one of less than half the frames is left out. Empty where no video is a
    file.
    """
    found = [
        (float(window.probabilities.max()), timeline, window)
        for timeline in timelines
        if Path(timeline.video).is_file()
        for window in _large(timeline)
        if window.probabilities is not None
    ]
    if not found:
        return ""
    _, timeline, window = max(found, key=lambda each: each[0])
    if len(timeline.windows) == 1:
        return after_prediction(run, timeline.video, places=places)
    piece = _for_ffmpeg(f"{Path(timeline.video).stem}-{window.start:g}s.mp4")
    return f"{_cut(timeline.video, window, piece)} && {next_command('predict', [run, piece], places=places)}"


def _large(timeline: Timeline) -> list[WindowAnswer]:
    most = max((window.num_frames for window in timeline.windows), default=0)
    return [window for window in timeline.windows if 2 * window.num_frames >= most]


def _cut(video: str, window: WindowAnswer, piece: str) -> str:
    words = ["-ss", f"{window.start:g}", "-t", f"{window.end - window.start:g}", "-i", _for_ffmpeg(video), piece]
    return shlex.join(["ffmpeg", "-v", "error", *words])


def _for_ffmpeg(file: str) -> str:
    """A file's name that FFmpeg takes for neither an option nor an address, such as `a:b.mp4`."""
    return file if file.startswith("/") or (":" not in file and not file.startswith("-")) else f"./{file}"
