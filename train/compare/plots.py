"""The curves of several runs in one figure a measure, as SVG."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from shared.pages.figures import house_style, svg_address
from train.compare.reading import EvaluatedRun
from train.run.progress import EpochRow

_MOST_NAMED = 10  # runs in a legend, and colours


def draw_curves(runs: Sequence[EvaluatedRun], splits: Sequence[str]) -> dict[str, str]:
    """Data addresses by title, of what any run has: validation top-1 and loss, training loss. One line a split."""
    figures = {}
    with house_style():
        for title, column, factor in (
            ("validation top-1 in %", "val_top1", 100.0),
            ("validation loss", "val_loss", 1.0),
            ("training loss", "train_loss", 1.0),
        ):
            if figure := _figure(runs, splits, title=title, column=column, factor=factor):
                figures[title] = svg_address(figure)
    return figures


def _figure(
    runs: Sequence[EvaluatedRun], splits: Sequence[str], *, title: str, column: str, factor: float
) -> Figure | None:
    """One measure over the epochs; None where no run has it."""
    figure = Figure(figsize=(5.4, 3.4 + 0.2 * min(len(runs), _MOST_NAMED)), layout="constrained")
    axes = figure.subplots()
    colours = mpl.color_sequences["tab10"]
    for place, run in enumerate(runs):
        label = run.name if place < _MOST_NAMED else "_"
        for split in splits:
            epochs, values = _points(run.splits[split].history, column)
            if not epochs:
                continue
            colour = colours[place % len(colours)]
            axes.plot(
                epochs, [factor * value for value in values], color=colour, marker=".", linewidth=1.3, label=label
            )
            label = "_"
    if not axes.lines:
        return None
    axes.set(xlabel="epoch", ylabel=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper left", ncols=1)  # above the data, never over it
    return figure


def _points(history: Sequence[EpochRow], column: str) -> tuple[list[int], list[float]]:
    rows = [(row.epoch, getattr(row, column)) for row in history]
    return [epoch for epoch, value in rows if value is not None], [value for _, value in rows if value is not None]
