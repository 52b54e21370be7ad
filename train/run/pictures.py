"""The curves of a run and a confusion matrix, as figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from shared.figures import house_style
from train.run.progress import EpochRow

_MOST_NAMED_CLASSES = 60  # beyond, names and counts cannot be read
_LARGEST_SIDE = 17.0  # inches; as many as 60 names need


def draw_curves(history: Sequence[EpochRow]) -> Figure:
    """Loss, top-1 and learning rate over the epochs, one below the other; the best epoch is marked."""
    with house_style():
        return _curves(history)


def _curves(history: Sequence[EpochRow]) -> Figure:
    figure = Figure(figsize=(7.6, 7.2), dpi=120, layout="constrained")
    loss, accuracy, rate = figure.subplots(3, 1, height_ratios=[3, 3, 2])
    epochs = [row.epoch for row in history]
    loss.plot(epochs, [row.train_loss for row in history], marker=".", label="training")
    accuracy.plot(epochs, [100 * row.train_top1 for row in history], marker=".", label="training")
    rate.plot(epochs, [row.learning_rate for row in history], marker=".")
    validated = [row for row in history if row.val_loss is not None]
    if validated:
        epochs = [row.epoch for row in validated]
        loss.plot(epochs, [row.val_loss or 0.0 for row in validated], marker=".", label="validation")
        accuracy.plot(epochs, [100 * (row.val_top1 or 0.0) for row in validated], marker=".", label="validation")
        best = [row for row in validated if row.best][-1]
        accuracy.plot(best.epoch, 100 * (best.val_top1 or 0.0), "k*", markersize=12, label="best")
    for axes, title in ((loss, "loss"), (accuracy, "top-1 in %"), (rate, "learning rate")):
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (loss, accuracy):  # above the data, never over it
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.2)
    return figure


def draw_confusion(
    confusion: npt.NDArray[np.int64], class_names: Sequence[str], *, title: str, remarks: Sequence[str] = ()
) -> Figure:
    """Shares of each true class by row, with the counts in the cells; up to 60 classes are named.

    confusion: int64 (classes, classes), true class by row. The figure has at most 2,040 pixels a side.
    """
    shares = confusion / confusion.sum(axis=1, keepdims=True).clip(min=1)
    side = min(_LARGEST_SIDE, max(5.0, 0.24 * len(class_names) + 2.5))
    figure = Figure(figsize=(side, side), dpi=120, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(title, parse_math=False)
    if len(class_names) <= _MOST_NAMED_CLASSES:
        axes.set_xticks(range(len(class_names)), class_names, rotation=90, fontsize=7, parse_math=False)
        axes.set_yticks(range(len(class_names)), class_names, fontsize=7, parse_math=False)
        for row, column in zip(*confusion.nonzero(), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", fontsize=6, color=color)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
    if remarks:
        figure.supxlabel("; ".join(remarks), fontsize=7)
    return figure
