"""What happens when, as one picture: a panel for each video, a stripe for each of its most probable actions."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from shared.files import whole_file
from shared.pages.figures import GREY, house_style
from shared.pages.fonts import find_letters
from train.predict.timeline import Timeline, WindowAnswer
from train.trained.answers import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh

Floats = npt.NDArray[np.float64]

MOST_VIDEOS = 12
MOST_ACTIONS = 8
_MOST_COLUMNS = 1500  # more than a picture has pixels for
_LONGEST_NAME = 40
_STEPS = (
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14_400,
    43_200,
)
_WIDTH, _DPI = 10.0, 120


def write_picture(path: Path, timelines: Sequence[Timeline], class_names: Sequence[str]) -> str:
    """Write a PNG of the first 12 videos that have answers; returns what there is to say about it, if anything."""
    shown = [timeline for timeline in timelines if any(each.probabilities is not None for each in timeline.windows)]
    letters = find_letters([*class_names, *(printable(timeline.video) for timeline in shown)])
    with house_style(families=letters.families):
        figure = draw_timelines(shown[:MOST_VIDEOS], class_names)
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png")
    notes = []
    if len(shown) > MOST_VIDEOS:
        notes.append(f"the picture shows the first {MOST_VIDEOS} of {len(shown)} videos")
    if letters.missing:
        notes.append(f"no font here has {letters.missing[:10]}: these letters are boxes in the picture")
    return "; ".join(notes)


def draw_timelines(timelines: Sequence[Timeline], class_names: Sequence[str]) -> Figure:
    """A panel for each video: time to the right, a stripe for each of its actions, the darker the more probable."""
    rows = [stripe_labels(timeline.windows) for timeline in timelines]
    heights = [0.3 * len(labels) + 0.75 for labels in rows]
    figure = Figure(figsize=(_WIDTH, max(1.6, sum(heights) + 0.2)), dpi=_DPI, layout="constrained")
    panels = figure.subplots(max(1, len(timelines)), 1, squeeze=False, gridspec_kw={"height_ratios": heights or [1]})
    for axes, timeline, labels in zip(panels[:, 0], timelines, rows, strict=False):
        mesh = _draw_stripes(axes, timeline, labels, class_names)
    if timelines:
        share = heights[0] / sum(heights)
        bar = figure.colorbar(mesh, ax=list(panels[:, 0]), pad=0.01, aspect=20, shrink=share, anchor=(0.0, 1.0))
        bar.set_label("P(action) in %")
        bar.outline.set_visible(False)
    else:
        panels[0, 0].set_axis_off()
        panels[0, 0].text(0.5, 0.5, "no video gave an answer", ha="center")
    return figure


def stripe_labels(windows: Sequence[WindowAnswer]) -> list[int]:
    """The 8 actions with the highest probability in any window, in the order in which they are most probable."""
    shares = _shares(windows)
    highest, when = np.nanmax(shares, axis=0), np.nanargmax(shares, axis=0)
    chosen = np.argsort(-highest, kind="stable")[:MOST_ACTIONS]
    return [int(label) for label in sorted(chosen, key=lambda label: (when[label], label))]


def columns_of(windows: Sequence[WindowAnswer], labels: Sequence[int]) -> tuple[Floats, Floats]:
    """Edges (m + 1,) in seconds and probabilities (labels, m) of the cells that are drawn, at most 1500.

    A window stands for the time around its middle, half the way to the middles of its neighbours. Of windows that share
    a cell the highest probability is drawn. NaN where nothing is shown.
    """
    middles = np.array([(each.start + each.end) / 2 for each in windows])
    edges = np.concatenate([[windows[0].start], (middles[1:] + middles[:-1]) / 2, [windows[-1].end]])
    shares = _shares(windows)[:, list(labels)].T
    group = -(-len(windows) // _MOST_COLUMNS)
    starts = np.arange(0, len(windows), group)
    return np.append(edges[starts], edges[-1]), np.fmax.reduceat(shares, starts, axis=1)


def _shares(windows: Sequence[WindowAnswer]) -> Floats:
    """Probabilities (windows, classes), NaN where nothing is shown."""
    num_classes = next(len(each.probabilities) for each in windows if each.probabilities is not None)
    nothing = np.full(num_classes, np.nan)
    return np.stack([nothing if each.probabilities is None else each.probabilities for each in windows])


def _draw_stripes(axes: Axes, timeline: Timeline, labels: Sequence[int], class_names: Sequence[str]) -> QuadMesh:
    edges, shares = columns_of(timeline.windows, labels)
    axes.set_facecolor(GREY)  # where nothing is shown
    mesh = axes.pcolormesh(edges, np.arange(len(labels) + 1), 100 * shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_yticks(np.arange(len(labels)) + 0.5, [_short(class_names[label]) for label in labels])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.hlines(np.arange(1, len(labels)), edges[0], edges[-1], color="white", linewidth=2)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title(_short(printable(timeline.video)))
    length = float(edges[-1] - edges[0])
    axes.xaxis.set_major_locator(MultipleLocator(tick_step(length)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: tick_text(seconds, length=length)))
    return mesh


def tick_step(length: float) -> float:
    """Seconds from tick to tick on an axis of so many: a round time, such that there are at most ten."""
    days = itertools.accumulate(itertools.repeat(2.0), operator.mul, initial=86_400.0)
    return next(step for step in itertools.chain(_STEPS, days) if length <= 10 * step)


def tick_text(seconds: float, *, length: float) -> str:
    """A time on an axis of ``length`` seconds: 7.5 s where these are less than two minutes, else 2:30 or 1:02:30."""
    if length < 120:
        return f"{seconds:g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _short(name: str) -> str:
    """A name cut in the middle where it is too long."""
    if len(name) <= _LONGEST_NAME:
        return name
    half = (_LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"
