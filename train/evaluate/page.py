"""The report of an evaluation as one HTML page: it opens from disk, and its size is bounded whatever it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.pages.page import render_page
from shared.pages.tables import Cell, Table
from train.confusions.answers import MOST_CLIPS, telling_answers
from train.confusions.films import ClipPictures
from train.confusions.page_data import TEMPLATES, page_data
from train.evaluate.findings import findings
from train.evaluate.groups import FEATURE_NAMES, FEATURES, TAG_NAMES
from train.evaluate.intervals import Interval
from train.evaluate.plots import reliability_diagram
from train.evaluate.results import MEASURES, ClassResult, Evaluation, SplitResult
from train.evaluate.texts import (
    INTERVAL_NOTE,
    SUMMARY_COLUMNS,
    interval_text,
    quarter_meaning,
    sentences,
    summary_rows,
    tag_meaning,
)

MOST_PAIRS = 200


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number at the top, and what it is."""

    value: str
    label: str
    interval: str = ""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An accuracy with its interval, drawn on a line from 0 to 100 %."""

    label: str
    values: str
    num_clips: int
    share: float
    interval: Interval | None

    @property
    def text(self) -> str:
        """In percent."""
        return f"{100 * self.share:.1f}"

    @property
    def interval_text(self) -> str:
        """In percent, empty without one."""
        return interval_text(self.interval)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Accuracies to be compared with each other."""

    title: str
    note: str
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """One of the most frequent confusions."""

    true_class: str
    predicted_class: str
    true_label: int
    predicted_label: int
    num_clips: int
    percent: float
    """Of the clips of the true class."""


def evaluation_page(evaluation: Evaluation, pictures: Sequence[ClipPictures]) -> str:
    """The HTML of one or several splits; pictures: one for each split."""
    content = {
        "evaluation": evaluation,
        "summary": _summary_table(evaluation),
        "interval_note": INTERVAL_NOTE,
        "splits": [_split_content(result, shown) for result, shown in zip(evaluation.results, pictures, strict=True)],
        "most_clips": MOST_CLIPS,
        "most_pairs": MOST_PAIRS,
    }
    return render_page("train.evaluate", "evaluation", content, has_tables=True, parts=(TEMPLATES,))


def _split_content(result: SplitResult, pictures: ClipPictures) -> dict[str, object]:
    return {
        "result": result,
        "sentences": sentences(result),
        "findings": findings(result),
        "figures": _figures(result),
        "classes": _class_table(result),
        "pairs": _pairs(result),
        "features": _feature_groups(result),
        "tags": _tag_groups(result),
        "reliability": reliability_diagram(result.reliability),
        "num_films": sum(clip_id in pictures.films for clip_id in result.clip_ids),
        "data": page_data(
            result.metrics.confusion,
            result.class_names,
            telling_answers(result.clip_ids, result.labels, result.probabilities),
            pictures,
            rest="predictions.csv has all",
        ),
    }


def _figures(result: SplitResult) -> list[Figure]:
    """The numbers at the top of a split."""
    figures = []
    for key, name in MEASURES.items():
        figures.append(
            Figure(
                value=f"{100 * getattr(result.metrics, key):.1f} %",
                label=name,
                interval=interval_text(result.intervals.get(key)),
            )
        )
    largest = max(each.num_clips for each in result.classes) / result.metrics.num_clips
    return [
        *figures,
        Figure(value=f"{100 * largest:.1f} %", label="if it always named the largest class"),
        Figure(value=f"{result.metrics.num_clips:,}", label="clips"),
        Figure(value=f"{len(set(result.sources)):,}", label="sources"),
        Figure(value=f"{sum(each.num_clips > 0 for each in result.classes):,}", label="classes with clips"),
    ]


def _summary_table(evaluation: Evaluation) -> Table | None:
    """The splits below each other with mean and deviation; None for one split, whose numbers stand at the top."""
    if len(evaluation.results) < 2:
        return None
    rows = tuple(tuple(Cell(text=text, key=text) for text in row) for row in summary_rows(evaluation))
    return Table(name="summary", columns=SUMMARY_COLUMNS, rows=rows)


def _class_table(result: SplitResult) -> Table:
    worst: dict[str, str] = {}
    for pair in result.confused:
        worst.setdefault(pair.true_class, f"{pair.predicted_class} ({len(pair.clip_ids)})")
    columns = ("class", "clips", "predicted", "recall %", "precision %", "most often taken for")
    ordered = sorted(result.classes, key=lambda each: (each.num_clips == 0, each.recall, each.class_name))
    rows = tuple(_class_row(each, worst.get(each.class_name, "")) for each in ordered)
    return Table(name=f"classes-{result.split}", columns=columns, rows=rows)


def _class_row(each: ClassResult, taken_for: str) -> tuple[Cell, ...]:
    def share(value: float, *, count: int) -> Cell:
        return Cell(text=f"{100 * value:.1f}" if count else "", key=value if count else -1.0, bar=value)

    return (
        Cell(text=each.class_name, key=each.class_name),
        Cell(text=str(each.num_clips), key=each.num_clips),
        Cell(text=str(each.num_predicted), key=each.num_predicted),
        share(each.recall, count=each.num_clips),
        share(each.precision, count=each.num_predicted),
        Cell(text=taken_for, key=taken_for),
    )


def _pairs(result: SplitResult) -> list[PairRow]:
    labels = {name: label for label, name in enumerate(result.class_names)}
    totals = result.metrics.confusion.sum(axis=1)
    return [
        PairRow(
            true_class=pair.true_class,
            predicted_class=pair.predicted_class,
            true_label=labels[pair.true_class],
            predicted_label=labels[pair.predicted_class],
            num_clips=len(pair.clip_ids),
            percent=100 * len(pair.clip_ids) / int(totals[labels[pair.true_class]]),
        )
        for pair in result.confused[:MOST_PAIRS]
    ]


def _feature_groups(result: SplitResult) -> list[Group]:
    groups = []
    for feature in FEATURES:
        estimates = tuple(
            Estimate(
                label=quarter_meaning(each),
                values=f"{each.low:.4g} to {each.high:.4g}",
                num_clips=each.num_clips,
                share=each.top1,
                interval=each.interval,
            )
            for each in result.quarters
            if each.feature == feature
        )
        note = "Variance of the Laplacian: the larger, the sharper the picture." if feature == "blur" else ""
        groups.append(Group(title=FEATURE_NAMES.get(feature, feature), note=note, estimates=estimates))
    return [group for group in groups if group.estimates]


def _tag_groups(result: SplitResult) -> list[Group]:
    """Tags with at least two values: one value alone tells nothing beside the whole."""
    by_tag: dict[str, list[Estimate]] = {}
    for each in result.tags:
        estimate = Estimate(
            label=tag_meaning(each), values="", num_clips=each.num_clips, share=each.top1, interval=each.interval
        )
        by_tag.setdefault(each.tag, []).append(estimate)
    return [
        Group(title=TAG_NAMES.get(tag, tag.replace("_", " ")), note="", estimates=tuple(estimates))
        for tag, estimates in by_tag.items()
        if len(estimates) > 1
    ]
