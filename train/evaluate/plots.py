"""The reliability diagram of a split as SVG."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from shared.pages.figures import BLUE, INK, ORANGE, house_style, svg_address
from train.learn.metrics import ReliabilityBin


def reliability_diagram(bins: Sequence[ReliabilityBin]) -> str:
    """Accuracy by confidence above, the number of clips below: a data address. Small, so as to be legible anywhere."""
    with house_style():
        figure = Figure(figsize=(5.4, 4.6), layout="constrained")
        accuracy, counts = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        width = bins[0].high - bins[0].low
        filled = [each for each in bins if each.num_clips]
        middles = [(each.low + each.high) / 2 for each in filled]
        accuracy.bar(middles, [each.accuracy for each in filled], width=0.92 * width, color="#bcd4ec")
        accuracy.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="confidence is accuracy")
        accuracy.plot(
            [each.confidence for each in filled],
            [each.accuracy for each in filled],
            color=ORANGE,
            marker="o",
            markersize=4,
            linewidth=1.2,
            label="the model",
        )
        accuracy.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
        accuracy.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)  # above the data, never over it
        counts.bar(middles, [each.num_clips for each in filled], width=0.92 * width, color=BLUE)
        counts.set(xlabel="confidence: probability of the predicted class", ylabel="clips")
        counts.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        return svg_address(figure)
