"""An evaluation as text: JSON, Markdown, and the rows of its tables. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from shared.terminal.console import counted
from shared.terminal.tables import markdown_table
from train.evaluate.groups import FEATURE_NAMES, FEATURES, TAG_MEANINGS, TAG_NAMES, QuarterResult, TagResult
from train.evaluate.intervals import NUM_DRAWS, Interval
from train.evaluate.results import MEASURES, ConfusedPair, Evaluation, SplitResult, summary

_PAIRS_SHOWN = 10
_CLIPS_SHOWN = 3
INTERVAL_NOTE = (
    f"Intervals are 95 % confidence intervals by the bootstrap over sources ({NUM_DRAWS:,} draws of whole sources). "
    "How much depends on the seed of the training they do not tell."
)


def evaluation_json(evaluation: Evaluation) -> str:
    """Everything but the matrices: run, views, data set, each split with its measures, mean and standard deviation."""
    overall = summary(evaluation.results)
    content = {
        "run": evaluation.run,
        "views": str(evaluation.views),
        "dataset_id": evaluation.dataset_id,
        "splits": [_split_content(result) for result in evaluation.results],
        "mean": {key: mean for key, (mean, _) in overall.items()},
        "standard_deviation": {key: deviation for key, (_, deviation) in overall.items()},
    }
    return json.dumps(content, indent=2)


def _split_content(result: SplitResult) -> dict[str, object]:
    return {
        "split": result.split,
        "remarks": list(result.remarks),
        "model": dataclasses.asdict(result.model),
        "num_clips": result.metrics.num_clips,
        "num_sources": len(set(result.sources)),
        **{key: getattr(result.metrics, key) for key in (*MEASURES, "loss")},
        "intervals": {key: interval_ends(interval) for key, interval in result.intervals.items()},
        **_calibration_content(result),
        "classes": [vars(each) for each in result.classes],
        "confused_pairs": [vars(each) | {"count": len(each.clip_ids)} for each in result.confused],
        "tags": [vars(each) | {"interval": interval_ends(each.interval)} for each in result.tags],
        "quarters": [vars(each) | {"interval": interval_ends(each.interval)} for each in result.quarters],
        "reliability": [vars(each) for each in result.reliability],
    }


def interval_ends(interval: Interval | None) -> list[float] | None:
    """An interval as JSON has it: its two ends."""
    return None if interval is None else [interval.low, interval.high]


def _calibration_content(result: SplitResult) -> dict[str, object]:
    if result.calibration is None or result.uncalibrated is None:
        return {}
    before = {key: getattr(result.uncalibrated, key) for key in ("calibration_error", "loss")}
    return {"calibration": dataclasses.asdict(result.calibration), "uncalibrated": before}


def sentences(result: SplitResult) -> list[str]:
    """What to say of a split beside its numbers."""
    sentences = list(result.remarks)
    if result.calibration is not None and result.uncalibrated is not None:
        before, after = (_percent(metrics.calibration_error) for metrics in (result.uncalibrated, result.metrics))
        sentences.append(
            f"calibrated with temperature {result.calibration.temperature:.2f}, fitted on "
            f"{counted(result.calibration.num_clips, 'validation clip')}: expected calibration error {before} % "
            f"before, {after} % after"
        )
    return sentences


def summary_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Measures in percent by split with their intervals, and over several splits mean ± standard deviation."""
    rows: list[tuple[str, ...]] = [
        (result.split, str(result.metrics.num_clips), *_measures_with_intervals(result))
        for result in evaluation.results
    ]
    if len(rows) > 1:
        overall = summary(evaluation.results).values()
        total = str(sum(result.metrics.num_clips for result in evaluation.results))
        cells = (f"{_percent(mean)} ± {_percent(deviation or 0.0)}" for mean, deviation in overall)
        rows.append(("mean ± std", total, *cells))
    return rows


def _measures_with_intervals(result: SplitResult) -> list[str]:
    cells = []
    for key in MEASURES:
        interval = result.intervals.get(key)
        text = f" ({interval_text(interval)})" if interval is not None else ""
        cells.append(_percent(getattr(result.metrics, key)) + text)
    return cells


def interval_text(interval: Interval | None) -> str:
    """An interval in percent, empty for None."""
    return "" if interval is None else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


SUMMARY_COLUMNS = ("split", "clips", *(f"{name} %" for name in MEASURES.values()))
CLASS_COLUMNS = ("class", "clips", "predicted", "precision %", "recall %")
PAIR_COLUMNS = ("true", "taken for", "clips", "for example")
TAG_COLUMNS = ("tag", "value", "clips", "top-1 %", "95 % interval")
QUARTER_COLUMNS = ("feature", "quarter", "values", "clips", "top-1 %", "95 % interval")


def class_rows(result: SplitResult) -> list[tuple[str, ...]]:
    """One row a class, the worst recall first; classes without test clips stand at the end."""
    ordered = sorted(result.classes, key=lambda each: (each.num_clips == 0, each.recall, each.class_name))
    return [
        (each.class_name, str(each.num_clips), str(each.num_predicted), _percent(each.precision), _percent(each.recall))
        for each in ordered
    ]


def pair_rows(pairs: Sequence[ConfusedPair]) -> list[tuple[str, ...]]:
    """The most frequent confusions with a few of their clips."""
    return [
        (pair.true_class, pair.predicted_class, str(len(pair.clip_ids)), ", ".join(pair.clip_ids[:_CLIPS_SHOWN]))
        for pair in pairs[:_PAIRS_SHOWN]
    ]


def tag_rows(result: SplitResult) -> list[tuple[str, ...]]:
    """Top-1 by tag, its values spelt out."""
    return [
        (
            TAG_NAMES.get(each.tag, each.tag.replace("_", " ")),
            tag_meaning(each),
            str(each.num_clips),
            _percent(each.top1),
            interval_text(each.interval),
        )
        for each in result.tags
    ]


def tag_meaning(each: TagResult) -> str:
    """What a value of a tag means, in words."""
    return TAG_MEANINGS[each.tag].get(each.value, each.value or "(not in the name)")


def quarter_rows(result: SplitResult) -> list[tuple[str, ...]]:
    """Top-1 by quarter of each measured feature."""
    return [
        (
            FEATURE_NAMES.get(each.feature, each.feature),
            quarter_meaning(each),
            f"{each.low:.4g} to {each.high:.4g}",
            str(each.num_clips),
            _percent(each.top1),
            interval_text(each.interval),
        )
        for each in result.quarters
    ]


def quarter_meaning(each: QuarterResult) -> str:
    """Which quarter of the values it is, in words."""
    smallest, largest = FEATURES[each.feature]
    return {1: f"1, {smallest}", 4: f"4, {largest}"}.get(each.quarter, str(each.quarter))


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def evaluation_markdown(evaluation: Evaluation) -> str:
    """The report as Markdown."""
    lines = [f"# {evaluation.run}", "", f"Views: {evaluation.views} (temporal candidates x spatial crops).", ""]
    lines += [f"Split {result.split}: {text}." for result in evaluation.results for text in sentences(result)]
    lines += ["", *markdown_table(SUMMARY_COLUMNS, summary_rows(evaluation))]
    if len(evaluation.results) > 1:
        lines += ["", "The standard deviation is that of the splits (n - 1)."]
    lines += ["", INTERVAL_NOTE]
    for result in evaluation.results:
        lines += ["", f"## Split {result.split}", "", "### By tag", "", *markdown_table(TAG_COLUMNS, tag_rows(result))]
        lines += ["", "### By quarter of a feature", "", *markdown_table(QUARTER_COLUMNS, quarter_rows(result))]
        if result.confused:
            table = markdown_table(PAIR_COLUMNS, pair_rows(result.confused))
            lines += ["", "### Most confused", "", *table]
        lines += ["", "### By class", "", *markdown_table(CLASS_COLUMNS, class_rows(result))]
    return "\n".join(lines) + "\n"
