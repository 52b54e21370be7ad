"""A comparison as one HTML page that opens from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.pages.page import render_page
from shared.pages.tables import Cell, Table
from train.compare.comparison import ChangedClip, ClassRow, Comparison, PairResult
from train.compare.texts import (
    PAIR_COLUMNS,
    PAIR_NOTE,
    RUN_COLUMNS,
    SPREAD_NOTE,
    pair_rows,
    run_rows,
    verdict,
)

MOST_CLIPS = 1000  # that changed sides, of each pair
MOST_OPTION = 80  # characters of an option's value


def comparison_page(comparison: Comparison, curves: Mapping[str, str]) -> str:
    """The HTML. curves: pictures by title."""
    content = {
        "comparison": comparison,
        "verdicts": [verdict(pair) for pair in comparison.pairs],
        "runs": _text_table("runs", RUN_COLUMNS, run_rows(comparison)),
        "pairs": _text_table("pairs", PAIR_COLUMNS, pair_rows(comparison)),
        "pair_note": PAIR_NOTE,
        "spread_note": SPREAD_NOTE if len(comparison.splits) > 1 else "",
        "changed": [(pair, _changed_table(f"changed-{place}", pair)) for place, pair in enumerate(comparison.pairs)],
        "most_clips": MOST_CLIPS,
        "classes": [_class_table(comparison, split) for split in comparison.splits],
        "options": _option_table(comparison),
        "curves": curves,
    }
    return render_page("train.compare", "compare", content, has_tables=True)


def _text_table(name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    return Table(name=name, columns=tuple(columns), rows=tuple(tuple(map(_cell, row)) for row in rows))


def _cell(text: str) -> Cell:
    """A cell that sorts by its number where it is one."""
    try:
        return Cell(text=text, key=float(text.replace(",", "")))
    except ValueError:
        return Cell(text=text, key=text)


def _changed_table(name: str, pair: PairResult) -> Table:
    def row(clip: ChangedClip, side: str) -> tuple[Cell, ...]:
        return tuple(Cell(text=text, key=text) for text in (side, clip.true, clip.clip_id, clip.first, clip.second))

    rows = [row(clip, "gained") for clip in pair.gained] + [row(clip, "lost") for clip in pair.lost]
    columns = ("change", "class", "clip", f"{pair.first} said", f"{pair.second} said")
    return Table(name=name, columns=columns, rows=tuple(rows[:MOST_CLIPS]))


def _class_table(comparison: Comparison, split: str) -> Table:
    """Recall of each run; what is at least a tenth above or below the first run is marked."""
    rows = tuple(_class_row(row) for row in comparison.classes if row.split == split)
    columns = ("class", "clips", *(f"recall % of {run}" for run in comparison.runs))
    return Table(name=f"classes-{split}", columns=columns, rows=rows)


def _class_row(row: ClassRow) -> tuple[Cell, ...]:
    def mark(recall: float) -> str:
        if abs(recall - row.recalls[0]) < 0.1:
            return ""
        return "high" if recall > row.recalls[0] else "low"

    return (
        Cell(text=row.class_name, key=row.class_name),
        Cell(text=str(row.num_clips), key=row.num_clips),
        *(Cell(text=f"{100 * recall:.1f}", key=recall, mark=mark(recall)) for recall in row.recalls),
    )


def _option_table(comparison: Comparison) -> Table:
    rows = [(key, *(_short(value) for value in values)) for key, values in comparison.options.items()]
    return _text_table("options", ("option", *comparison.runs), rows)


def _short(value: str) -> str:
    return value if len(value) <= MOST_OPTION else f"{value[: MOST_OPTION - 1]}…"
