"""The report's plots: matplotlib figures as SVG data URIs. An SVG in an <img> runs no script and loads nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from preprocess.eda.summary import PICTURE_COLUMNS, Summary
from shared.figures import BLUE, FAINT, GREY, INK, ORANGE, house_style, svg_address
from shared.manifests import SPLIT_COLUMNS

CHANNELS = {"red": "#d64545", "green": "#3f9142", "blue": "#2f6fb5"}
UNITS = {
    "brightness": "mean luma, 0 to 255",
    "contrast": "standard deviation of luma",
    "blur": "variance of the Laplacian; higher is sharper",
    "colorfulness": "Hasler and Süsstrunk",
    "motion": "mean luma difference of adjacent frames",
}
LOGARITHMIC = ("blur",)
_PARTS = (("train", BLUE), ("val", "#8a5fa8"), ("test", ORANGE))


def draw_plots(summary: Summary) -> dict[str, str]:
    """All figures as SVG data URIs: classes, frames, splits, colour, hue, correlations, each of PICTURE_COLUMNS."""
    with house_style():
        figures = {
            "classes": _classes(summary),
            "frames": _frames(summary),
            "splits": _splits(summary),
            "colour": _colour(summary),
            "hue": _class_hues(summary),
            "correlations": _correlations(summary.correlations),
        }
        figures.update({column: _distribution(summary.clips, column) for column in PICTURE_COLUMNS})
        return {name: svg_address(figure) for name, figure in figures.items()}


def _class_axis(axes: Axes, names: list[str]) -> None:
    axes.set_xticks(range(len(names)), [_short(name) for name in names], rotation=90, fontsize=8)
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.grid(visible=False, axis="x")


def _short(name: str, limit: int = 24) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def _classes(summary: Summary) -> Figure:
    names = [str(name) for name in summary.classes.index]
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    axes = figure.subplots()
    bottom = np.zeros(len(names))
    for part, colour in (*_PARTS, ("unused", GREY)):
        counts = summary.clips[summary.clips["split1"] == part].groupby("class_name").size()
        heights = counts.reindex(summary.classes.index, fill_value=0).to_numpy()
        if heights.any():
            axes.bar(range(len(names)), heights, bottom=bottom, color=colour, width=0.78, label=f"{part} of split 1")
        bottom += heights
    median = float(summary.classes["clips"].median())
    axes.axhline(median, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label=f"median {median:g}")
    axes.set_ylabel("clips")
    axes.legend(loc="upper right", ncols=4)
    _class_axis(axes, names)
    return figure


def _frames(summary: Summary) -> Figure:
    frames = summary.clips["num_frames"].to_numpy()
    figure = Figure(figsize=(5.4, 2.9), layout="constrained")
    axes = figure.subplots()
    edges = np.geomspace(max(1, frames.min()), frames.max() + 1, 40)
    axes.hist(frames, bins=[float(edge) for edge in np.unique(edges)], color=BLUE)
    axes.axvline(summary.dataset.num_segments, color=ORANGE, linewidth=1.4, label=f"T = {summary.dataset.num_segments}")
    axes.set_xscale("log")
    ticks = [value for value in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if value <= 2 * frames.max()]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(min(frames.min(), summary.dataset.num_segments) * 0.85, frames.max() * 1.1)
    axes.set_xlabel("frames that decode")
    axes.set_ylabel("clips")
    axes.legend()
    return figure


def _splits(summary: Summary) -> Figure:
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    all_axes = figure.subplots(1, len(SPLIT_COLUMNS), sharey=True)
    for axes, split in zip(all_axes, SPLIT_COLUMNS, strict=True):
        for part, colour in _PARTS:
            counts = (
                summary.clips[summary.clips[split] == part].groupby("class_name").size().sort_values(ascending=False)
            )
            if len(counts):
                axes.step(np.arange(len(counts)) + 1, counts.to_numpy(), where="mid", color=colour, label=part)
        axes.set_title(split)
        axes.set_xlabel("classes, largest first")
    all_axes[0].set_ylim(0, 1.05 * float(all_axes[0].get_ylim()[1]))
    all_axes[0].set_ylabel("clips")
    all_axes[0].legend()
    return figure


def _distribution(clips: pd.DataFrame, column: str) -> Figure:
    values = clips[column].to_numpy()
    figure = Figure(figsize=(11, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 3.2))
    logarithmic = column in LOGARITHMIC and bool((values > 0).all()) and values.max() > 20 * values.min()
    edges = np.geomspace(values.min(), values.max(), 41) if logarithmic else 40
    left.hist(values, bins=edges if isinstance(edges, int) else [float(edge) for edge in edges], color=BLUE)
    left.axvline(float(np.median(values)), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    left.set_xlabel(UNITS[column])
    left.set_ylabel("clips")
    left.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    grouped = dict(tuple(clips.groupby("class_name")[column]))
    names = sorted(grouped, key=lambda name: float(grouped[name].median()))
    boxes = [_box(grouped[name].to_numpy()) for name in names]
    right.bxp(
        boxes,
        positions=range(len(names)),
        widths=0.62,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": "#bcd4ec", "edgecolor": BLUE, "linewidth": 0.8},
        medianprops={"color": INK, "linewidth": 1.4},
        whiskerprops={"color": FAINT, "linewidth": 0.8},
        capprops={"color": FAINT, "linewidth": 0.8},
    )
    right.axhline(float(np.median(values)), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    if logarithmic:
        left.set_xscale("log")
        right.set_yscale("log")
        for axis in (left.xaxis, right.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
    _class_axis(right, [str(name) for name in names])
    return figure


def _box(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> dict[str, object]:
    low, first, median, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
    return {"whislo": low, "q1": first, "med": median, "q3": third, "whishi": high, "fliers": []}


def _colour(summary: Summary) -> Figure:
    clips = summary.clips
    figure = Figure(figsize=(11, 2.9), layout="constrained")
    levels, saturation, hue = figure.subplots(1, 3)
    for name, colour in CHANNELS.items():
        levels.hist(
            clips[f"{name}_mean"], bins=np.linspace(0, 255, 41).tolist(), histtype="step", color=colour, linewidth=1.4
        )
    levels.set_title("mean of R, G and B of a clip")
    levels.set_ylabel("clips")
    saturation.hist(clips["saturation_mean"], bins=np.linspace(0, 1, 41).tolist(), color=BLUE)
    saturation.set_title("mean saturation of a clip")
    shares = clips[[f"hue_hist_{index}" for index in range(8)]].mean().to_numpy()
    hue.bar(range(8), shares, color=_hue_colours(), width=0.86)
    hue.set_xticks(range(8), [f"{45 * index}°" for index in range(8)])
    hue.set_title("hue in steps of 45°, weighted by saturation")
    hue.grid(visible=False, axis="x")
    return figure


def _hue_colours() -> list[tuple[float, float, float]]:
    centres = [hsv_to_rgb(((index + 0.5) / 8, 0.62, 0.82)) for index in range(8)]
    return [(float(red), float(green), float(blue)) for red, green, blue in centres]


def _class_hues(summary: Summary) -> Figure:
    columns = [f"hue_hist_{index}" for index in range(8)]
    means = summary.clips.groupby("class_name")[[*columns, "saturation_mean"]].mean().sort_values("saturation_mean")
    names = [str(name) for name in means.index]
    figure = Figure(figsize=(11, 3.1), layout="constrained")
    axes = figure.subplots()
    bottom = np.zeros(len(names))
    shares = means[columns].div(means[columns].sum(axis=1).where(lambda total: total > 0, 1.0), axis=0)
    for column, colour in zip(columns, _hue_colours(), strict=True):
        heights = shares[column].to_numpy() * means["saturation_mean"].to_numpy()
        axes.bar(range(len(names)), heights, bottom=bottom, color=colour, width=0.78)
        bottom += heights
    axes.set_ylabel("mean saturation, by hue")
    _class_axis(axes, names)
    return figure


def _correlations(correlations: pd.DataFrame) -> Figure:
    names = [str(name) for name in correlations.columns]
    figure = Figure(figsize=(8.4, 5.4), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    values = correlations.to_numpy()
    axes.pcolormesh(values[::-1], cmap="RdBu_r", vmin=-1, vmax=1, edgecolors="white", linewidth=0.6)
    for row in range(len(names)):
        for column in range(len(names)):
            value = values[row, column]
            text = "" if np.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00")
            colour = "white" if abs(value) > 0.6 else INK
            axes.text(column + 0.5, len(names) - row - 0.5, text, ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=90, fontsize=8)
    axes.set_yticks(np.arange(len(names)) + 0.5, names[::-1], fontsize=8)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure
