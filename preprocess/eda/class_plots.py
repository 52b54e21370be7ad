"""Plots with a row for each class: clips, hue, and the spread of a measure. They fit a page of 600 pixels.

Sizes are in inches; a row is as high as its name, and the margin as wide as the longest name, so that nothing is cut
also where the browser draws letters that matplotlib has no font for.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from shared.pages.figures import BLUE, FAINT, GREY, INK, ORANGE

WIDTH = 5.5
MAX_ROWS = 60  # of more classes the first and the last are drawn, a half each
PARTS = (("train", BLUE), ("val", "#8a5fa8"), ("test", ORANGE), ("unused", GREY))
UNITS = {
    "brightness": "brightness: mean luma, 0 to 255",
    "contrast": "contrast: standard deviation of luma",
    "blur": "sharpness (column blur): variance of the Laplacian; higher is sharper",
    "colorfulness": "colourfulness, after Hasler and Süsstrunk",
    "motion": "motion: mean luma difference of adjacent frames",
}
LOGARITHMIC = ("blur",)
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_FONT_SIZE = 8
_ROW, _LEGEND, _FOOT, _RIGHT = 0.165, 0.3, 0.5, 0.12
_LONGEST = 26.0  # of a name, in narrow letters; a wide one such as a Chinese one counts 1.6
_NARROW = 0.62  # width of a narrow letter, as a share of the font's size


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """A figure whose ``axes`` hold the rows 0 .. len(names) - 1 from above, with a panel ``top`` over them."""

    figure: Figure
    axes: Axes
    top: Axes | None


def ends(names: Sequence[str]) -> list[str]:
    """All names, or MAX_ROWS of them, from both ends with an empty one between for those left out."""
    half = MAX_ROWS // 2
    return list(names) if len(names) <= MAX_ROWS else [*names[:half], "", *names[-half:]]


def class_rows(names: Sequence[str], *, left_out: int, above: float = 0.0, legend: bool = False) -> Rows:
    """An empty figure with rows for the names of ``ends``. above: height of a panel over the rows, 0 for none."""
    labels = [_shortened(name) if name else f"… {left_out} more …" for name in names]
    left = 0.16 + max(map(_letters, labels)) * _NARROW * _FONT_SIZE / 72
    rows, head = _ROW * max(len(names), 2), above + (_LEGEND if legend else 0.08)
    height = head + rows + _FOOT
    width = WIDTH - left - _RIGHT
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((left / WIDTH, _FOOT / height, width / WIDTH, rows / height))
    axes.set_yticks(range(len(names)), labels, fontsize=_FONT_SIZE, color=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    top = None
    if above:
        bottom = (_FOOT + rows + 0.08) / height
        top = figure.add_axes((left / WIDTH, bottom, width / WIDTH, (above - 0.16) / height))
    return Rows(figure=figure, axes=axes, top=top)


def _letters(text: str) -> float:
    """The width of a text, in narrow letters."""
    return sum(1.6 if unicodedata.east_asian_width(letter) in "WF" else 1.0 for letter in text)


def _shortened(name: str) -> str:
    if _letters(name) <= _LONGEST:
        return name
    while _letters(name) > _LONGEST - 1:
        name = name[:-1]
    return f"{name}…"


def draw_classes(clips: pd.DataFrame, counts: pd.Series[int]) -> Figure:
    """Clips of each class by part of split 1. counts: by class, in the order of the rows."""
    names = ends([str(name) for name in counts.index])
    rows = class_rows(names, left_out=len(counts) - MAX_ROWS, legend=True)
    start = np.zeros(len(names))
    for part, colour in PARTS:
        parts = clips.loc[clips["split1"] == part, "class_name"].value_counts()
        lengths = parts.reindex(names, fill_value=0).to_numpy()
        if lengths.any():
            rows.axes.barh(range(len(names)), lengths, left=start, color=colour, height=0.74, label=part)
        start += lengths
    median = float(counts.median())
    rows.axes.axvline(median, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label=f"median {median:g}")
    rows.axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    rows.axes.set_xlabel("clips, by part of split 1", loc="right")
    legend_above(rows.axes)
    return rows.figure


def legend_above(axes: Axes) -> None:
    """The legend in a line of its own above the axes, where it covers nothing."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=6, fontsize=_FONT_SIZE, borderaxespad=0.1, borderpad=0.2,
        handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip


def class_medians(clips: pd.DataFrame, column: str) -> pd.Series[float]:
    """The median of a measure in each class, the lowest first."""
    return clips.groupby("class_name")[column].median().sort_index().sort_values(kind="stable")


def draw_distribution(clips: pd.DataFrame, column: str) -> Figure:
    """A histogram of a measure over all clips, and under it, on the same scale, a box for each class."""
    values = clips[column].to_numpy()
    medians = class_medians(clips, column)
    names = ends([str(name) for name in medians.index])
    rows = class_rows(names, left_out=len(medians) - MAX_ROWS, above=1.25)
    assert rows.top is not None
    logarithmic = column in LOGARITHMIC and bool((values > 0).all()) and values.max() > 20 * values.min()
    edges = (np.geomspace if logarithmic else np.linspace)(values.min(), max(values.max(), values.min() + 1e-6), 41)
    rows.top.hist(values, bins=[float(edge) for edge in edges], color=BLUE)
    rows.top.set_ylabel("clips")
    rows.top.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    _draw_boxes(rows.axes, [clips.loc[clips["class_name"] == name, column].to_numpy() for name in names])
    for axes in (rows.top, rows.axes):
        axes.axvline(float(np.median(values)), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(rows.top.get_xlim())
    rows.top.tick_params(axis="x", labelbottom=False)
    rows.axes.set_xlabel(UNITS[column], loc="right")
    return rows.figure


def _draw_boxes(axes: Axes, values: Sequence[npt.NDArray[np.float64]]) -> None:
    """A box in each row, none where it has no values."""
    rows = [row for row, each in enumerate(values) if len(each)]
    low, first, median, third, high = np.transpose([np.quantile(values[row], _QUANTILES) for row in rows])
    axes.hlines(rows, low, high, color=FAINT, linewidth=0.8)
    axes.barh(rows, third - first, left=first, height=0.62, color="#bcd4ec", edgecolor=BLUE, linewidth=0.8)
    axes.vlines(median, np.subtract(rows, 0.31), np.add(rows, 0.31), color=INK, linewidth=1.6)


def hue_colours() -> list[tuple[float, float, float]]:
    """A colour for each of the eight steps of hue."""
    centres = [hsv_to_rgb(((index + 0.5) / 8, 0.62, 0.82)) for index in range(8)]
    return [(float(red), float(green), float(blue)) for red, green, blue in centres]


def draw_class_hues(clips: pd.DataFrame) -> Figure:
    """The mean saturation of each class, the lowest first, divided by hue."""
    columns = [f"hue_hist_{index}" for index in range(8)]
    means = clips.groupby("class_name")[[*columns, "saturation_mean"]].mean().sort_values("saturation_mean")
    shares = means[columns].div(means[columns].sum(axis=1).where(lambda total: total > 0, 1.0), axis=0)
    lengths = shares.mul(means["saturation_mean"], axis=0)
    names = ends([str(name) for name in means.index])
    rows = class_rows(names, left_out=len(means) - MAX_ROWS)
    start = np.zeros(len(names))
    for column, colour in zip(columns, hue_colours(), strict=True):
        part = lengths[column].reindex(names, fill_value=0.0).to_numpy()
        rows.axes.barh(range(len(names)), part, left=start, color=colour, height=0.74)
        start += part
    rows.axes.set_xlabel("mean saturation, divided by hue", loc="right")
    return rows.figure
