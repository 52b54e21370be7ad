"""A comparison as text: JSON, and the rows of its tables. Pure."""

from __future__ import annotations

import dataclasses
import json

from train.compare.comparison import MEASURES, Comparison, PairResult, RunMeasures, over_splits
from train.evaluate.intervals import Interval
from train.evaluate.texts import interval_ends, interval_text

RUN_COLUMNS = (
    "run",
    "split",
    "clips",
    "top-1 %",
    "top-5 %",
    "mean class accuracy %",
    "parameters",
    "best epoch",
    "minutes",
)
PAIR_COLUMNS = ("run", "against", "split", "gained", "lost", "top-1 difference", "95 % interval", "p (McNemar)")
PAIR_NOTE = (
    "Gained: clips that the run has right and the first one wrong; lost: the other way round. The interval of the "
    "difference is by the bootstrap over sources. p is McNemar's exact test, two-sided: how likely so uneven a change "
    "is between equally good runs. It takes clips for independent, and is not corrected for the number of comparisons."
)
SPREAD_NOTE = "mean ± std: over the splits (n - 1). How much two trainings of one recipe differ, only seeds can tell."


def run_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Each run on each split, and over several splits its mean ± standard deviation."""
    rows = []
    for run in comparison.runs:
        rows += [_run_row(measures) for measures in comparison.measures if measures.run == run]
        if len(comparison.splits) > 1:
            overall = over_splits(comparison, run)
            cells = [f"{100 * overall[key][0]:.2f} ± {100 * overall[key][1]:.2f}" for key in MEASURES]
            rows.append((run, "mean ± std", "", *cells, "", "", ""))
    return rows


def _run_row(measures: RunMeasures) -> tuple[str, ...]:
    shares = [_share(getattr(measures, key), measures.intervals[key]) for key in MEASURES]
    minutes = f"{measures.minutes:.1f}" if measures.minutes else ""
    numbers = (f"{measures.parameters:,}", str(measures.epochs), minutes)
    return (measures.run, measures.split, str(measures.num_clips), *shares, *numbers)


def _share(share: float, interval: Interval | None) -> str:
    return f"{100 * share:.2f}" + (f" ({interval_text(interval)})" if interval is not None else "")


def pair_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Each run against the first one."""
    return [
        (
            pair.second,
            pair.first,
            pair.split,
            str(pair.second_only),
            str(pair.first_only),
            f"{100 * pair.difference:+.2f}",
            "" if pair.interval is None else f"{100 * pair.interval.low:+.1f} to {100 * pair.interval.high:+.1f}",
            p_text(pair.p_value),
        )
        for pair in comparison.pairs
    ]


def p_text(p_value: float) -> str:
    """A p-value with three digits behind the point, or that it is smaller."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def verdict(pair: PairResult) -> str:
    """What a pair says, in a sentence."""
    changed = pair.first_only + pair.second_only
    where = f"split {pair.split}: {pair.second} against {pair.first}"
    if not changed:
        return f"{where}: the same clips are right"
    sides = f"{pair.second_only} gained, {pair.first_only} lost, p {p_text(pair.p_value)}"
    if pair.p_value >= 0.05:
        return f"{where}: no clear difference ({sides})"
    return f"{where}: {'better' if pair.difference > 0 else 'worse'} ({sides})"


def comparison_json(comparison: Comparison) -> str:
    """Everything: runs, splits, measures, pairs with the clips that changed sides, classes, options, notes."""
    content = {
        "runs": list(comparison.runs),
        "splits": list(comparison.splits),
        "measures": [
            vars(each) | {"intervals": {key: interval_ends(interval) for key, interval in each.intervals.items()}}
            for each in comparison.measures
        ],
        "over_splits": _over_splits(comparison),
        "pairs": [dataclasses.asdict(each) | {"interval": interval_ends(each.interval)} for each in comparison.pairs],
        "classes": [vars(each) for each in comparison.classes],
        "options": dict(comparison.options),
        "notes": list(comparison.notes),
    }
    return json.dumps(content, indent=2)


def _over_splits(comparison: Comparison) -> dict[str, object]:
    """Mean and standard deviation of each run; none of one split."""
    if len(comparison.splits) < 2:
        return {}
    return {
        run: {
            key: {"mean": mean, "standard_deviation": deviation}
            for key, (mean, deviation) in over_splits(comparison, run).items()
        }
        for run in comparison.runs
    }
