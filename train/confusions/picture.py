"""A confusion matrix as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from shared.files import whole_file
from shared.pages.figures import drawn_in
from shared.pages.fonts import find_letters

_MOST_NAMED_CLASSES = 60  # beyond, names and counts cannot be read
_LARGEST_SIDE = 17.0  # inches; as many as 60 names need


def write_confusion(
    path: Path,
    confusion: npt.NDArray[np.int64],
    class_names: Sequence[str],
    *,
    title: str,
    remarks: Sequence[str] = (),
) -> None:
    """Write ``draw_confusion`` as a PNG, with fonts that have the letters of the names where such are installed."""
    with drawn_in(find_letters(class_names).families), whole_file(path) as temporary:
        draw_confusion(confusion, class_names, title=title, remarks=remarks).savefig(temporary)


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
