"""Compares runs that `evaluate` has measured: prints tables or JSON, and writes a page where one is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import UsageError
from shared.files import write_text
from shared.terminal.console import print_table, say, write_out
from train.compare.comparison import Comparison, compare_runs
from train.compare.page import comparison_page
from train.compare.plots import draw_curves
from train.compare.reading import EvaluatedRun, read_run
from train.compare.texts import (
    PAIR_COLUMNS,
    PAIR_NOTE,
    RUN_COLUMNS,
    SPREAD_NOTE,
    comparison_json,
    pair_rows,
    run_rows,
    verdict,
)

_CLASSES_SHOWN = 10
_VALUE_SHOWN = 40  # characters


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The options of the command."""

    runs: Path
    json: bool
    out: Path | None
    """None for no page."""


def compare(names: Sequence[str], options: CompareOptions) -> Comparison:
    """Compare runs, by their paths or names, with the first of them."""
    if len(names) < 2:
        raise UsageError(f"compare was given {len(names)} run; name two or more, such as `lsvit-train compare a b`")
    runs = _named_apart(names, [read_run(name, runs=options.runs) for name in names])
    comparison = compare_runs(runs)
    if options.out is not None:
        write_text(options.out, comparison_page(comparison, draw_curves(runs, comparison.splits)))
    if options.json:
        write_out(comparison_json(comparison))
        return comparison
    _print(comparison)
    if options.out is None:
        say("--out compare.html writes a page with curves, classes and every clip that changed sides")
    else:
        say(f"wrote {options.out}")
    return comparison


def _named_apart(names: Sequence[str], runs: Sequence[EvaluatedRun]) -> list[EvaluatedRun]:
    """Runs of one name are called as they were given. Raises UsageError for a run that was given twice."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{twice} is named twice; name each run once")
    if len({run.name for run in runs}) == len(runs):
        return list(runs)
    return [dataclasses.replace(run, name=name) for name, run in zip(names, runs, strict=True)]


def _print(comparison: Comparison) -> None:
    if comparison.options:
        rows = [(key, *(value[:_VALUE_SHOWN] for value in values)) for key, values in comparison.options.items()]
        print_table("Options that differ", ("option", *comparison.runs), rows)
    for split in comparison.splits:
        changed = [row for row in comparison.classes if row.split == split and len(set(row.recalls)) > 1]
        rows = [
            (row.class_name, str(row.num_clips), *(f"{100 * recall:.1f}" for recall in row.recalls))
            for row in changed[:_CLASSES_SHOWN]
        ]
        if rows:
            title = f"Split {split}: recall % of the classes that changed most"
            print_table(title, ("class", "clips", *comparison.runs), rows)
    print_table(f"Against {comparison.runs[0]}", PAIR_COLUMNS, pair_rows(comparison))
    print_table("Runs", RUN_COLUMNS, run_rows(comparison))
    say(PAIR_NOTE)
    if len(comparison.splits) > 1:
        say(SPREAD_NOTE)
    for note in comparison.notes:
        say(f"note: {note}")
    for pair in comparison.pairs:
        say(verdict(pair))
