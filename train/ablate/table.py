"""The results of an ablation: a table in the terminal, CSV, Markdown and a plot."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.files import whole_file, write_csv, write_text
from shared.terminal.console import print_table
from shared.terminal.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS_FILE = "results.csv"
SUMMARY_CSV = "summary.csv"
SUMMARY_MARKDOWN = "summary.md"
SUMMARY_PLOT = "summary.png"


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """One row of the grid with one seed. The accuracies are of the test clips, in [0, 1]."""

    row: str
    seed: int
    split: str
    num_clips: int
    top1: float
    mean_class_accuracy: float
    milliseconds_per_step: float
    """Mean over the optimiser steps, without those of the first epoch where there are more."""
    num_parameters: int
    dataset_id: str
    split_sha256: str = ""
    """Of the split, as the run notes it; empty in results from before."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and sample standard deviation (n - 1; None for one seed)."""

    mean: float
    deviation: float | None

    def text(self, *, sign: bool = False) -> str:
        """In percent, ``mean ± deviation``."""
        mean = f"{100 * self.mean:+.2f}" if sign else f"{100 * self.mean:.2f}"
        return mean if self.deviation is None else f"{mean} ± {100 * self.deviation:.2f}"


@dataclass(frozen=True, kw_only=True)
class RowSummary:
    """One row of the grid over its seeds."""

    name: str
    compared_to: str
    seeds: tuple[int, ...]
    top1: Spread
    difference: Spread | None
    """Of top-1 to the row ``compared_to``, seed by seed; None where they have no seed in common."""
    mean_class_accuracy: Spread
    milliseconds_per_step: float
    num_parameters: int


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Everything measured so far."""

    title: str
    compared_to: Mapping[str, str]
    """For each row, in the order of the grid, the row it is compared to; empty for the first."""
    cells: tuple[CellResult, ...]
    skipped: Mapping[str, str]
    """The rows that cannot be run, and why."""
    remarks: tuple[str, ...]
    """Sentences about what the numbers are not."""


def summarise(ablation: Ablation) -> list[RowSummary]:
    """The rows that have results, in the order of the grid."""
    by_row = {name: [cell for cell in ablation.cells if cell.row == name] for name in ablation.compared_to}
    return [
        RowSummary(
            name=name,
            compared_to=other,
            seeds=tuple(cell.seed for cell in by_row[name]),
            top1=_spread([cell.top1 for cell in by_row[name]]),
            difference=_difference(by_row[name], by_row.get(other, [])),
            mean_class_accuracy=_spread([cell.mean_class_accuracy for cell in by_row[name]]),
            milliseconds_per_step=statistics.fmean(cell.milliseconds_per_step for cell in by_row[name]),
            num_parameters=by_row[name][0].num_parameters,
        )
        for name, other in ablation.compared_to.items()
        if by_row[name]
    ]


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean=statistics.fmean(values), deviation=statistics.stdev(values) if len(values) > 1 else None)


def _difference(own: Sequence[CellResult], other: Sequence[CellResult]) -> Spread | None:
    """Mean and deviation of the differences of the seeds that both have: what the seeds share cancels out."""
    reference = {cell.seed: cell.top1 for cell in other}
    pairs = [cell.top1 - reference[cell.seed] for cell in own if cell.seed in reference]
    return _spread(pairs) if pairs else None


COLUMNS = ("row", "top-1 %", "difference", "compared to", "mean class %", "ms a step", "parameters", "seeds")


def table_rows(summaries: Sequence[RowSummary]) -> list[tuple[str, ...]]:
    """The table's cells."""
    return [
        (
            each.name,
            each.top1.text(),
            "" if each.difference is None else each.difference.text(sign=True),
            each.compared_to if each.difference is not None else "",
            each.mean_class_accuracy.text(),
            f"{each.milliseconds_per_step:.1f}",
            f"{each.num_parameters:,}",
            str(len(each.seeds)),
        )
        for each in summaries
    ]


def write_ablation(folder: Path, ablation: Ablation) -> None:
    """Write results.csv (a line a run), summary.csv, summary.md and summary.png; nothing before the first result."""
    summaries = summarise(ablation)
    if not summaries:
        return
    columns = tuple(CellResult.__dataclass_fields__)
    write_csv(folder / RESULTS_FILE, columns, [[getattr(cell, name) for name in columns] for cell in ablation.cells])
    write_csv(folder / SUMMARY_CSV, _CSV_COLUMNS, [_csv_row(each) for each in summaries])
    lines = [f"# {ablation.title}", "", *(f"{remark}." for remark in ablation.remarks), ""]
    lines += markdown_table(COLUMNS, table_rows(summaries))
    lines += [
        "",
        "Mean ± standard deviation over seeds (n - 1); differences are taken seed by seed, in points of top-1.",
    ]
    lines += [f"Not run: {name} ({reason})." for name, reason in ablation.skipped.items()]
    write_text(folder / SUMMARY_MARKDOWN, "\n".join(lines) + "\n")
    _write_plot(folder / SUMMARY_PLOT, ablation, summaries)


_CSV_COLUMNS = (
    "row", "compared_to", "num_seeds", "top1", "top1_std", "difference", "difference_std", "mean_class_accuracy",
    "mean_class_accuracy_std", "milliseconds_per_step", "num_parameters",
)  # fmt: skip


def _csv_row(each: RowSummary) -> list[object]:
    difference = each.difference or Spread(mean=float("nan"), deviation=None)
    values: list[object] = [each.name, each.compared_to, len(each.seeds)]
    for spread in (each.top1, difference, each.mean_class_accuracy):
        values += [spread.mean, "" if spread.deviation is None else spread.deviation]
    return [*values, each.milliseconds_per_step, each.num_parameters]


def print_ablation(ablation: Ablation) -> None:
    """Print the table."""
    print_table(ablation.title, COLUMNS, table_rows(summarise(ablation)))


def _write_plot(path: Path, ablation: Ablation, summaries: Sequence[RowSummary]) -> None:
    from shared.pages.figures import drawn_in
    from shared.pages.fonts import find_letters

    with drawn_in(find_letters([ablation.title, *ablation.compared_to]).families), whole_file(path) as temporary:
        _draw_plot(ablation, summaries).savefig(temporary)


def _draw_plot(ablation: Ablation, summaries: Sequence[RowSummary]) -> Figure:
    """Each seed as a dot and each row's mean with its deviation, one row below the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 1.2 + 0.36 * len(summaries)), dpi=120, layout="constrained")
    axes = figure.subplots()
    places = {each.name: place for place, each in enumerate(summaries)}
    shares = [100 * cell.top1 for cell in ablation.cells]
    axes.scatter(
        shares, [places[cell.row] for cell in ablation.cells], s=14, color="#9aa5b1", zorder=2, label="one seed"
    )
    means = [100 * each.top1.mean for each in summaries]
    errors = [100 * (each.top1.deviation or 0.0) for each in summaries]
    axes.errorbar(
        means, range(len(summaries)), xerr=errors, fmt="o", color="#2f6fb5", capsize=3, zorder=3, label="mean ± std"
    )
    axes.axvline(means[0], color="#cbd2d9", linestyle="--", zorder=1)
    axes.set_yticks(range(len(summaries)), [each.name for each in summaries], fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("top-1 on the test clips, %")
    axes.set_title(ablation.title, fontsize=10, loc="left", parse_math=False)
    axes.grid(axis="x", color="#e4e7eb")
    axes.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)  # never over data
    if ablation.remarks:
        figure.supxlabel("; ".join(ablation.remarks), fontsize=7)
    return figure
