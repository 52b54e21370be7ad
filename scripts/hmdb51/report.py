"""Writes the report of a road: accuracies of the splits and their mean beside the literature, the data, the time."""

from __future__ import annotations

import json
import shlex
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from preprocess.fetch.command import OFFICIAL_SHA256
from scripts.hmdb51.journal import Journal
from scripts.hmdb51.options import Options
from scripts.hmdb51.roads import ROOT, Road
from scripts.hmdb51.stages import is_videos, split_folder
from shared.classes import HMDB51_CLASSES, HMDB51_NUM_VIDEOS
from shared.errors import DataError
from shared.files import write_text
from shared.manifests.files import Dataset, read_dataset, read_manifests
from shared.pages.page import data_address, render_page
from shared.splits.official_names import official_clip_id
from shared.terminal.console import counted, duration_text
from shared.terminal.tables import markdown_table

COLUMNS = ("method", "HMDB51", "source")  # of README's table of the literature
MEASURES: Mapping[str, str] = {"top1": "top-1 %", "top5": "top-5 %", "mean_class_accuracy": "mean class accuracy %"}


@dataclass(frozen=True, kw_only=True)
class SplitFigures:
    """What `lsvit-train evaluate` measured on the test clips of a split; shares in [0, 1]."""

    split: str
    num_clips: int
    top1: float
    top5: float
    mean_class_accuracy: float


class Section(NamedTuple):
    """A heading, what is to be said beneath it, and a table."""

    title: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Report(NamedTuple):
    """The content of both forms, Markdown and HTML. remarks: why the figures cannot be compared, if so."""

    title: str
    headline: str
    remarks: Sequence[str]
    sections: Sequence[Section]


def write_report(
    options: Options, road: Road, journal: Journal, *, left_out: Sequence[str]
) -> tuple[Report, list[Path]]:
    """Write hmdb51.md and hmdb51.html; returns the report and the files. left_out: a sentence for each such split."""
    results = [read_figures(options, split) for split in options.split_names]
    manifests = Path(options.manifests)
    official = {official_clip_id(Path(path).stem) or "" for path in read_manifests(manifests)["path"]} - {""}
    remarks = [*why_not_comparable(options, read_dataset(manifests), official), *left_out]
    report = make_report(
        options, road, results=results, dataset=read_dataset(manifests), remarks=remarks, journal=journal
    )
    folder = Path(options.runs) / options.name
    page, text = folder / "hmdb51.html", folder / "hmdb51.md"
    write_text(text, markdown(report))
    confusions = {split: split_folder(options, split) / "evaluation/confusion.png" for split in options.split_names}
    pictures = {split: data_address(file.read_bytes(), "png") for split, file in confusions.items() if file.is_file()}
    write_text(page, render_page("scripts.hmdb51", "report", {"report": report, "pictures": pictures}))
    return report, [page, text]


def read_figures(options: Options, split: str) -> SplitFigures:
    """What `lsvit-train evaluate` wrote of a split. Raises DataError where it is damaged."""
    file = split_folder(options, split) / "evaluation" / "metrics.json"
    try:
        (found,) = (each for each in json.loads(file.read_text(encoding="utf-8"))["splits"] if each["split"] == split)
        shares = {key: float(found[key]) for key in MEASURES}
        return SplitFigures(split=split, num_clips=int(found["num_clips"]), **shares)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} cannot be read ({error}); delete it and call make hmdb51 again") from error


def literature() -> list[list[str]]:
    """What others report: the rows of README's table, the one place where it stands. Raises DataError without it."""
    lines = iter((ROOT / "README.md").read_text(encoding="utf-8").splitlines())
    if f"| {' | '.join(COLUMNS)} |" not in lines:  # goes through the lines as far as the head
        raise DataError(f"README.md has no table with the columns {', '.join(COLUMNS)}; take it from the repository")
    table = list(lines)[1:]
    end = next((number for number, line in enumerate(table) if not line.startswith("|")), len(table))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[:end]]


def make_report(
    options: Options,
    road: Road,
    *,
    results: Sequence[SplitFigures],
    dataset: Dataset,
    remarks: Sequence[str],
    journal: Journal,
) -> Report:
    """Put everything together. remarks: why the figures cannot be compared."""
    top1, names = _spread([result.top1 for result in results]), ", ".join(options.split_names)
    words = f"{options.name}: {road.words_with(options.init)}, {options.init or road.settings()['init']}"
    own = [f"this run ({words}){', not comparable' if remarks else ''}", top1, "this page"]
    over = f"mean ± standard deviation of splits {names}" if len(results) > 1 else f"split {names}"
    times = [(each.stage, duration_text(each.seconds), shlex.join(each.command)) for each in journal.finished]
    total = ("all", duration_text(sum(each.seconds for each in journal.finished)), "")
    method = (
        "No model saw a test clip before all training had ended; validation clips, set aside of the training clips by "
        "source, chose the epoch. The deviation is that of the splits (n - 1). The folder evaluation of each split has "
        "more."
    )
    beside = (
        "Top-1 %, mean of the three official splits unless said. Only the first row was measured here; the others are "
        "what their sources report."
    )
    calls = "The time is that of the call that ended each stage; what interrupted calls took is not counted."
    sections = (
        Section("Results", method, ("split", "test clips", *MEASURES.values()), _result_rows(results)),
        Section("Beside the literature", beside, COLUMNS, [own, *literature()]),
        Section("The data", "", ("what", "value"), _data_rows(options, dataset, journal)),
        Section("Commands and time", calls, ("stage", "time", "command"), [*times, total]),
    )
    return Report(f"{options.name} on HMDB51", f"top-1 {top1} %, {over}", remarks, sections)


def why_not_comparable(options: Options, dataset: Dataset, official: Collection[str]) -> list[str]:
    """What sets these figures apart from those of the literature, a sentence each.

    official: which of the clips are on HMDB51's list, as `<class>/<clip>`.
    """
    found = []
    if dataset.synthetic:
        found.append("The clips are synthetic (`hmdb-prep synth`): the figures say nothing about HMDB51.")
    if len(official) < HMDB51_NUM_VIDEOS:
        num_classes = len({clip_id.partition("/")[0] for clip_id in official})
        text = f"{len(official)} of HMDB51's {HMDB51_NUM_VIDEOS} clips were there"
        found.append(f"Not comparable: {text}, in {num_classes} of {len(HMDB51_CLASSES)} classes.")
    if others := dataset.num_clips - len(official):
        found.append(f"Not comparable: {others} clips are not on HMDB51's official list.")
    if set(options.split_names) != {"1", "2", "3"}:
        number = counted(len(options.split_names), "split")
        found.append(f"The mean of {number} alone ({options.splits}): the literature reports that of all three.")
    if changed := [
        f"{name.upper()}={getattr(options, name)}" for name in ("init", "epochs", "size") if getattr(options, name)
    ]:
        found.append(f"Not as the recipe has it: {', '.join(changed)}.")
    return found


def _spread(values: Sequence[float]) -> str:
    """In percent: mean ± standard deviation of the splits, the figure alone where there is one."""
    mean = f"{100 * statistics.fmean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def _result_rows(results: Sequence[SplitFigures]) -> list[list[str]]:
    def row(name: str, of: Sequence[SplitFigures]) -> list[str]:
        spreads = (_spread([getattr(result, key) for result in of]) for key in MEASURES)
        return [name, f"{sum(result.num_clips for result in of)}", *spreads]

    together = [row("mean ± std", results)] if len(results) > 1 else []
    return [*(row(result.split, [result]) for result in results), *together]


def _data_rows(options: Options, dataset: Dataset, journal: Journal) -> list[tuple[str, str]]:
    archive = f"unknown: the videos came from {journal.source}"
    if journal.archive_sha256 and not is_videos(options):
        word = "the official one" if journal.archive_sha256 == OFFICIAL_SHA256 else "not the official one"
        archive = f"{word}, SHA-256 {journal.archive_sha256}"
    return [
        ("clips", f"{dataset.num_clips} of {dataset.num_videos} videos in {len(dataset.class_names)} classes"),
        ("quarantined videos", f"{dataset.num_quarantined}"),
        ("archive", archive),
        ("stored", f"{dataset.num_segments} segments of {dataset.frames_per_segment} frames, {dataset.size}"),
        ("dataset_id", dataset.dataset_id),
    ]


def markdown(report: Report) -> str:
    """The report as Markdown."""
    lines = [f"# {report.title}", "", f"{report.headline}.", ""]
    lines += [line for remark in report.remarks for line in (remark, "")]
    for section in report.sections:
        lines += [f"## {section.title}", "", *([section.text, ""] if section.text else [])]
        lines += [*markdown_table(section.columns, section.rows), ""]
    return "\n".join(lines)
