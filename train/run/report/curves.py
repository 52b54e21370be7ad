"""The curves of a run, as a figure."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from shared.pages.figures import house_style, svg_address
from train.run.progress import EpochRow


def draw_curves(history: Sequence[EpochRow]) -> Figure:
    """Loss, top-1 and learning rate over the epochs, one below the other; the best epoch is marked."""
    with house_style():
        return _curves(history)


def curves_address(history: Sequence[EpochRow]) -> str:
    """The same as an SVG data address."""
    with house_style():
        return svg_address(_curves(history))


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
