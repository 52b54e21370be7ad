"""The report's plots: matplotlib figures as SVG data URIs, each with a text for those who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from preprocess.eda.class_plots import (
    MAX_ROWS,
    PARTS,
    WIDTH,
    class_medians,
    draw_class_hues,
    draw_classes,
    draw_distribution,
    hue_colours,
    legend_above,
)
from preprocess.eda.names import head_name, shown_name
from preprocess.eda.offsets import PICTURE_COLUMNS
from preprocess.eda.summary import Summary
from shared.manifests.files import SPLIT_COLUMNS
from shared.pages.figures import BLUE, INK, ORANGE, house_style, svg_address
from shared.terminal.console import counted

CHANNELS = {"red": "#d64545", "green": "#3f9142", "blue": "#2f6fb5"}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot as an SVG data URI. alt: what it shows, in words."""

    address: str
    alt: str


def draw_plots(summary: Summary, *, families: Sequence[str]) -> dict[str, Plot]:
    """All figures by name: classes, frames, splits, colour, hue, correlations, each of PICTURE_COLUMNS.

    families: the fonts, as `shared.pages.fonts.find_letters` finds them for the names of the classes.
    """
    clips = summary.clips
    with house_style(families=families):
        figures = {
            "classes": draw_classes(clips, summary.classes["clips"]),
            "frames": _frames(summary),
            "splits": _splits(clips),
            "colour": _colour(clips),
            "hue": draw_class_hues(clips),
            "correlations": _correlations(summary.correlations),
        }
        figures.update({column: draw_distribution(clips, column) for column in PICTURE_COLUMNS})
        alts = _alts(summary)
        return {name: Plot(address=svg_address(figure), alt=alts[name]) for name, figure in figures.items()}


def _alts(summary: Summary) -> dict[str, str]:
    clips, counts = summary.clips, summary.classes["clips"]
    rows = f"{counted(len(counts), 'class')}" + (f", {MAX_ROWS} of them drawn" if len(counts) > MAX_ROWS else "")
    frames = clips["num_frames"]
    saturation = clips.groupby("class_name")["saturation_mean"].mean()
    alts = {
        "classes": f"Bars: clips of {rows}, from {counts.index[0]} ({counts.iloc[0]}) to {counts.index[-1]} "
        f"({counts.iloc[-1]}), divided by part of split 1",
        "frames": f"Histogram of the frames of {counted(len(clips), 'clip')}: {frames.min()} to {frames.max()}, "
        f"median {frames.median():g}",
        "splits": "Lines: clips of each class in train, val and test of the four splits, the largest class first",
        "colour": "Histograms of the means of red, green and blue and of the saturation of clips, and bars of hue",
        "hue": f"Bars: mean saturation of {rows}, divided by hue, from {saturation.idxmin()} "
        f"({saturation.min():.2f}) to {saturation.idxmax()} ({saturation.max():.2f})",
        "correlations": "Matrix of the correlations between measures, also found as numbers in its cells",
    }
    for column in PICTURE_COLUMNS:
        medians = class_medians(clips, column)
        alts[column] = (
            f"Histogram of {shown_name(column)} over all clips, and boxes of {rows}, from {medians.index[0]} "
            f"(median {medians.iloc[0]:.4g}) to {medians.index[-1]} (median {medians.iloc[-1]:.4g})"
        )
    return alts


def _frames(summary: Summary) -> Figure:
    frames = summary.clips["num_frames"].to_numpy()
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    edges = np.geomspace(max(1, frames.min()), frames.max() + 1, 40)
    axes.hist(frames, bins=[float(edge) for edge in np.unique(edges)], color=BLUE)
    axes.axvline(
        summary.dataset.num_segments, color=ORANGE, linewidth=1.4,
        label=f"T = {summary.dataset.num_segments}: clips left of it are padded",
    )  # fmt: skip
    axes.set_xscale("log")
    ticks = [value for value in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if value <= 2 * frames.max()]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(min(frames.min(), summary.dataset.num_segments) * 0.85, frames.max() * 1.1)
    axes.set_xlabel("frames that decode")
    axes.set_ylabel("clips")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(axes)
    return figure


def _splits(clips: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    all_axes = figure.subplots(2, 2, sharex=True, sharey=True).flatten()
    for axes, split in zip(all_axes, SPLIT_COLUMNS, strict=True):
        for part, colour in PARTS[:3]:
            counts = clips.loc[clips[split] == part, "class_name"].value_counts().to_numpy()
            if len(counts):
                places = np.concatenate([[0.5], np.arange(len(counts)) + 1, [len(counts) + 0.5]])
                heights = np.concatenate([counts[:1], counts, counts[-1:]])
                axes.step(places, heights, where="mid", color=colour, label=part)
        axes.set_title(split)
    for axes in all_axes[2:]:
        axes.set_xlabel("classes, largest first")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    for axes in all_axes[::2]:
        axes.set_ylabel("clips")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    all_axes[0].set_ylim(0, max(1.0, 1.05 * float(all_axes[0].get_ylim()[1])))
    found = {label: line for axes in all_axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(found.values()), list(found), loc="outside upper left", ncols=3)
    return figure


def _colour(clips: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    levels, saturation, hue = figure.subplots(3, 1)
    for name, colour in CHANNELS.items():
        levels.hist(
            clips[f"{name}_mean"], bins=np.linspace(0, 255, 41).tolist(), histtype="step", color=colour, linewidth=1.4
        )
    levels.set_title("mean of red, green and blue of a clip, 0 to 255")
    saturation.hist(clips["saturation_mean"], bins=np.linspace(0, 1, 41).tolist(), color=BLUE)
    saturation.set_title("mean saturation of a clip, 0 to 1")
    shares = clips[[f"hue_hist_{index}" for index in range(8)]].mean().to_numpy()
    hue.bar(range(8), shares, color=hue_colours(), width=0.86)
    hue.set_xticks(range(8), [f"{45 * index}°" for index in range(8)])
    hue.set_title("hue in steps of 45°, weighted by saturation")
    hue.grid(visible=False, axis="x")
    for axes, unit in ((levels, "clips"), (saturation, "clips"), (hue, "share")):
        axes.set_ylabel(unit)
    return figure


def _correlations(correlations: pd.DataFrame) -> Figure:
    names = [head_name(str(name)) for name in correlations.columns]
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
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
