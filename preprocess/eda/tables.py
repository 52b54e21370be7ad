"""The report's tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from preprocess.eda.findings.finding import Findings
from preprocess.eda.names import EXPLANATION, head_name
from preprocess.eda.near_duplicates import NearDuplicates
from preprocess.eda.offsets import APART, PICTURE_COLUMNS
from preprocess.eda.summary import SHORTFALL_SHARE, Summary
from shared.terminal.console import counted, print_table, say, write_out

BAR_WIDTH = 32
MAX_ROWS = 20
MAX_PAGE_ROWS = 2000  # of a list in the report
_EIGHTHS = " ▏▎▍▌▋▊▉"


def print_summary(summary: Summary, duplicates: NearDuplicates | None, findings: Findings) -> None:
    """Print the findings, then every table. Lists are cut after MAX_ROWS, and say so; the report has them whole."""
    dataset = summary.dataset
    if dataset.synthetic:
        say("SYNTHETIC DATA: rendered by `hmdb-prep synth`; no claim about HMDB51 follows from these numbers.")
    picture = dataset.size if dataset.size == "native" else f"{dataset.size} ({dataset.fit})"
    say(
        f"{counted(dataset.num_clips, 'clip')}, {counted(len(summary.classes), 'class')}, "
        f"{counted(summary.clips['source'].nunique(), 'source')}, "
        f"{dataset.num_segments} x {counted(dataset.frames_per_segment, 'frame')} of {picture}"
    )
    for sentence in summary.warnings:
        say(f"warning: {sentence}")
    _print_findings(findings)
    _print_classes(summary)
    _print_statistics(summary)
    print_table("Frames", ["what", "value"], summary.frame_counts.to_numpy(dtype=str).tolist())
    _print_frame("Picture lost to the centre crop", summary.crop_losses)
    _print_frame("Splits", summary.splits)
    _print_frame("Sources on both sides of a split", summary.leaks)
    _print_frame("Tags", summary.tags)
    _print_lists(summary)
    if duplicates is not None:
        _print_duplicates(duplicates)


def _print_findings(findings: Findings) -> None:
    say("\nFindings")
    for finding in findings.found:
        say(f"- {finding.title}: {finding.text}")
        for command in finding.commands:
            write_out(f"    {command}")  # in one line whatever the width, so that it can be copied
    if findings.clear:
        say(f"- Looked for and not found: {', '.join(findings.clear)}.")
    if findings.not_checked:
        say(f"- Not looked for: {', '.join(findings.not_checked)}.")
    say("")


def bar(value: float, largest: float, *, width: int = BAR_WIDTH) -> str:
    """A bar of block characters, exact to an eighth of a character; at least the thinnest one for a value above 0."""
    eighths = max(round(8 * width * value / largest), 1) if value > 0 else 0
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _print_classes(summary: Summary) -> None:
    largest = int(summary.classes["clips"].max())
    rows = [
        [str(row.Index), str(row.clips), str(row.sources), f"{row.to_median:.2f}", bar(float(str(row.clips)), largest)]
        for row in summary.classes.itertuples()
    ]
    title = f"Clips a class; imbalance ratio {summary.imbalance:.2f} (largest by smallest)"
    print_table(title, ["class", "clips", "sources", "to median", ""], rows)


def _print_statistics(summary: Summary) -> None:
    rows = []
    for name in summary.statistics.index:
        cells = [str(name)]
        for column in PICTURE_COLUMNS:
            is_above = bool(summary.offsets.loc[name, column] > 0)
            mark = ("▲" if is_above else "▼") if summary.apart.loc[name, column] else " "
            cells.append(f"{float(summary.statistics.loc[name, column]):9.2f} {mark}")
        rows.append(cells)
    title = f"Means a class; ▲ ▼: more than {APART:g} standard deviation of a class's clips from the median class"
    print_table(title, ["class", *map(head_name, PICTURE_COLUMNS)], rows)
    say(f"  {EXPLANATION}")


def _print_lists(summary: Summary) -> None:
    lists = {
        f"Clips that decode to less than {SHORTFALL_SHARE:.0%} of the header's frames": summary.shortfalls,
        "Clips of videos with packets that did not decode": summary.decode_errors,
        "Notes on videos": summary.notes,
        "Quarantined videos": summary.quarantine,
        "Files left out": summary.left_out,
    }
    for title, frame in lists.items():
        title = f"{title}: {len(frame)}"
        _print_frame(title, frame) if len(frame) else say(title)


def _print_duplicates(duplicates: NearDuplicates) -> None:
    counts = duplicates.counts()
    rows = [[name, str(count)] for name, count in counts.items()]
    print_table("Near duplicates", ["pairs", "count"], rows)


def _print_frame(title: str, frame: pd.DataFrame) -> None:
    shown = frame.head(MAX_ROWS)
    rest = len(frame) - len(shown)
    columns = [str(column) for column in frame.columns]
    if title == "Tags":
        shown, rest = frame, 0
    rows = [_cells(row, columns) for row in shown.itertuples(index=False)]
    print_table(title, columns, rows)
    if rest:
        listed = "them all" if len(frame) <= MAX_PAGE_ROWS else f"the first {MAX_PAGE_ROWS}"
        say(f"  and {rest} more; the HTML report lists {listed}")


def _cells(row: Sequence[object], columns: Sequence[str]) -> list[str]:
    return [cell_text(value, column) for value, column in zip(row, columns, strict=True)]


def cell_text(value: object, column: str) -> str:
    """A table cell as text: shares in percent, ratios with two digits, a missing ratio as a dash."""
    if isinstance(value, float):
        if value != value:
            return "-"
        return f"{value:.1%}" if column == "share" else f"{value:.2f}"
    return str(value)
