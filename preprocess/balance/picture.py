"""The picture beside a balancing plan: clips of each class before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from shared.files import whole_file
from shared.manifests.balancing_plans import PlanInfo, PlanRow
from shared.pages.figures import drawn_in
from shared.pages.fonts import find_letters, note_on_missing

_BEFORE, _KEPT, _REPEATED, _SYNTHETIC = "#c4c8ce", "#2f6f9f", "#8a6fb0", "#e08a2e"
_CLASS_HEIGHT_INCHES = 0.24
_WIDTH_INCHES = 8.0


def draw_counts(path: Path, rows: Sequence[PlanRow], info: PlanInfo) -> str:
    """Write a PNG: for each class a pale bar before and a stacked one after, most frequent class on top.

    The same plan gives the same bytes with the same matplotlib and fonts. Returns a note on letters that no font has.
    """
    names = sorted(info.counts_before, key=lambda name: (info.counts_before[name], name), reverse=True)
    letters = find_letters(names)
    with drawn_in(letters.families), whole_file(path) as temporary:
        figure = _draw(names, rows, info)
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
    return note_on_missing(letters, names)


def _draw(names: Sequence[str], rows: Sequence[PlanRow], info: PlanInfo) -> Figure:
    kept = Counter(row.class_name for row in {row for row in rows if row.kind == "real"})
    real = Counter(row.class_name for row in rows if row.kind == "real")
    synthetic = Counter(row.class_name for row in rows if row.kind == "synthetic")
    figure = Figure(figsize=(_WIDTH_INCHES, 1.6 + _CLASS_HEIGHT_INCHES * len(names)), layout="constrained")
    axes = figure.add_subplot()
    upper, lower = [place - 0.2 for place in range(len(names))], [place + 0.2 for place in range(len(names))]
    axes.barh(upper, [info.counts_before[name] for name in names], 0.38, color=_BEFORE, label="before")
    start = [0] * len(names)
    parts = (("after: kept", kept, _KEPT), ("after: repeated", real - kept, _REPEATED))
    for label, counts, colour in (*parts, ("after: synthetic", synthetic, _SYNTHETIC)):
        if not counts.total():
            continue
        axes.barh(lower, [counts[name] for name in names], 0.38, left=start, color=colour, label=label)
        start = [left + counts[name] for left, name in zip(start, names, strict=True)]
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("training clips")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    ratios = f"imbalance ratio {info.imbalance_ratio_before:.2f} before, {info.imbalance_ratio_after:.2f} after"
    axes.set_title(f"Split {info.split}, strategy {info.strategy}: {ratios}", fontsize=10, loc="left")
    axes.margins(x=0.02)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=4)
    FigureCanvasAgg(figure)
    return figure
