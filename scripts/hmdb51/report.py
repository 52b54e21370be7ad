"""The report of a road: accuracies of each split and their mean beside the literature, the data, the time. Pure."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.hmdb51.journal import Journal
from scripts.hmdb51.literature import COLUMNS
from scripts.hmdb51.options import Options
from scripts.hmdb51.roads import Road
from shared.classes import HMDB51_CLASSES, HMDB51_NUM_VIDEOS
from shared.console import counted, duration_text
from shared.manifests import Dataset
from shared.tables import markdown_table

MEASURES: Mapping[str, str] = {"top1": "top-1 %", "top5": "top-5 %", "mean_class_accuracy": "mean class accuracy %"}


@dataclass(frozen=True, kw_only=True)
class SplitFigures:
    """What `lsvit-train evaluate` measured on the test clips of a split; shares in [0, 1]."""

    split: str
    num_clips: int
    top1: float
    top5: float
    mean_class_accuracy: float


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the data set was."""

    dataset: Dataset
    num_official: int
    """Clips of HMDB51's official list among its clips."""
    num_official_classes: int
    archive: str
    """A sentence about the archive."""
    left_out: Sequence[str] = ()
    """A sentence for each split that has no clips to train or to test on."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, a table and what is to be said about it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The content of both forms, Markdown and HTML."""

    title: str
    headline: str
    remarks: Sequence[str]
    """Why the figures cannot be compared with the literature's; empty where they can."""
    sections: Sequence[Section]


def make_report(
    options: Options,
    road: Road,
    *,
    results: Sequence[SplitFigures],
    data: DataFacts,
    journal: Journal,
    literature: Sequence[Sequence[str]],
) -> Report:
    """Put everything together. literature: the rows of README's table."""
    remarks = why_not_comparable(options, data)
    words = f"{options.name}: {road.words}, {options.init or road.settings()['init']}"
    own = [f"this run ({words}){', not comparable' if remarks else ''}", top1_text(results), "this page"]
    return Report(
        title=f"{options.name} on HMDB51",
        headline=f"top-1 {top1_text(results)} %, {_over(results)}",
        remarks=remarks,
        sections=(
            Section(
                title="Results",
                columns=("split", "test clips", *MEASURES.values()),
                rows=_result_rows(results),
                text="No model saw a test clip before all training had ended; validation clips, set aside of the "
                "training clips by source, chose the epoch. The deviation is that of the splits (n - 1). "
                "The folder evaluation of each split has more.",
            ),
            Section(
                title="Beside the literature",
                columns=COLUMNS,
                rows=[own, *literature],
                text="Top-1 %, mean of the three official splits unless said. Only the first row was measured here; "
                "the others are what their sources report.",
            ),
            Section(title="The data", columns=("what", "value"), rows=_data_rows(data)),
            Section(
                title="Commands and time",
                columns=("stage", "time", "interruptions", "command"),
                rows=_time_rows(journal),
                text="The time is that of the call that ended each stage; what interrupted calls took is not counted.",
            ),
        ),
    )


def why_not_comparable(options: Options, data: DataFacts) -> list[str]:
    """What sets these figures apart from those of the literature, a sentence each."""
    dataset, found = data.dataset, []
    if dataset.synthetic:
        found.append("The clips are synthetic (`hmdb-prep synth`): the figures say nothing about HMDB51.")
    if data.num_official < HMDB51_NUM_VIDEOS:
        found.append(
            f"Not comparable: {data.num_official} of HMDB51's {HMDB51_NUM_VIDEOS} clips were there, in "
            f"{data.num_official_classes} of {len(HMDB51_CLASSES)} classes."
        )
    if others := dataset.num_clips - data.num_official:
        found.append(f"Not comparable: {others} clips are not on HMDB51's official list.")
    found += data.left_out
    if set(options.split_names) != {"1", "2", "3"}:
        number = counted(len(options.split_names), "split")
        found.append(f"The mean of {number} alone ({options.splits}): the literature reports that of all three.")
    changed = [name for name in ("epochs", "size") if getattr(options, name)]
    if changed:
        settings = ", ".join(f"{name.upper()}={getattr(options, name)}" for name in changed)
        found.append(f"Not as the recipe has it: {settings}.")
    return found


def top1_text(results: Sequence[SplitFigures]) -> str:
    """Top-1 in percent: mean ± standard deviation of the splits, the figure alone where there is one."""
    return _spread([result.top1 for result in results])


def _spread(values: Sequence[float]) -> str:
    mean = f"{100 * statistics.fmean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def _over(results: Sequence[SplitFigures]) -> str:
    names = ", ".join(result.split for result in results)
    return f"mean ± standard deviation of splits {names}" if len(results) > 1 else f"split {names}"


def _result_rows(results: Sequence[SplitFigures]) -> list[list[str]]:
    rows = [
        [result.split, f"{result.num_clips}", *(f"{100 * getattr(result, key):.1f}" for key in MEASURES)]
        for result in results
    ]
    if len(results) > 1:
        spreads = [_spread([getattr(result, key) for result in results]) for key in MEASURES]
        rows.append(["mean ± std", f"{sum(result.num_clips for result in results)}", *spreads])
    return rows


def _data_rows(data: DataFacts) -> list[list[str]]:
    dataset = data.dataset
    return [
        ["clips", f"{dataset.num_clips} of {dataset.num_videos} videos in {len(dataset.class_names)} classes"],
        ["quarantined videos", f"{dataset.num_quarantined}"],
        [
            "of HMDB51's official list",
            f"{data.num_official} of {HMDB51_NUM_VIDEOS} clips, {data.num_official_classes} of {len(HMDB51_CLASSES)} "
            "classes",
        ],
        ["archive", data.archive],
        ["synthetic", "yes" if dataset.synthetic else "no"],
        ["stored", f"{dataset.num_segments} segments of {dataset.frames_per_segment} frames, {dataset.size}"],
        ["dataset_id", dataset.dataset_id],
    ]


def _time_rows(journal: Journal) -> list[list[str]]:
    rows = [
        [each.stage, duration_text(each.seconds), f"{each.interruptions}", shlex.join(each.command)]
        for each in journal.finished
    ]
    return [*rows, ["all", duration_text(sum(each.seconds for each in journal.finished)), "", ""]]


def markdown(report: Report) -> str:
    """The report as Markdown."""
    lines = [f"# {report.title}", "", f"{report.headline}.", ""]
    lines += [line for remark in report.remarks for line in (remark, "")]
    for section in report.sections:
        lines += [f"## {section.title}", ""]
        lines += [section.text, ""] if section.text else []
        lines += [*markdown_table(section.columns, section.rows), ""]
    return "\n".join(lines)
