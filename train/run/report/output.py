"""The report of a run: curves, confusions on validation clips, configuration; as one HTML page and as Markdown."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.errors import DataError
from shared.files import whole_file, write_text
from shared.manifests.files import read_dataset, read_manifests
from shared.pages.page import render_page
from shared.pages.tables import Cell, Table
from shared.terminal.console import counted, duration_text
from shared.terminal.tables import markdown_table
from train.confusions.films import ClipPictures, clip_pictures, explain_command
from train.confusions.page_data import TEMPLATES, page_data
from train.confusions.picture import write_confusion
from train.data.columns import CLIP_COLUMNS
from train.run.checkpoint import Checkpoint, RunFacts
from train.run.config.fields import RunConfig, place_of_shards
from train.run.config.files import read_choices
from train.run.folder import CHOICES_FILE
from train.run.progress import EpochRow, Progress, Timing, read_timing, write_metrics
from train.run.report.curves import curves_address, draw_curves
from train.run.report.tables import (
    FactTable,
    ValidatedClass,
    configuration_table,
    data_table,
    environment_table,
    model_table,
    validated_classes,
)

CURVES_FILE = "curves.png"
CONFUSION_FILE = "confusion_validation.png"
REPORT_FILE = "report.html"
_ROOM = 0.5  # of that which the films of an evaluation take


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page and the Markdown both say."""

    name: str
    summary: str
    remarks: tuple[str, ...]
    """Sentences about what the numbers are not."""
    curves: str
    """A line of text above the curves; empty, like the next two, where there is nothing to show."""
    validation: str
    classes: tuple[ValidatedClass, ...]
    tables: tuple[FactTable, ...]
    command: str
    """What shows the curves in TensorBoard, empty where another tracker has them."""


def write_report(folder: Path, *, facts: RunFacts, config: RunConfig, progress: Progress) -> Path:
    """Write report.html (self-contained), report.md and the pictures; returns the path of the HTML page."""
    timing = read_timing(folder)
    if progress.history:
        with whole_file(folder / CURVES_FILE) as temporary:
            draw_curves(progress.history).savefig(temporary)
    if progress.best_confusion is not None:
        write_confusion(folder / CONFUSION_FILE, _confusion(progress), facts.class_names, title="Validation clips")
    report = _report(folder, facts, config, progress, timing)
    write_text(folder / "report.md", _markdown(report))
    write_text(folder / REPORT_FILE, _page(folder, report, facts, config, progress, timing))
    return folder / REPORT_FILE


def complete_report(folder: Path, found: Checkpoint, *, config: RunConfig) -> None:
    """Write what a finished run lacks that was killed between its last checkpoint and its report."""
    if not (folder / REPORT_FILE).is_file():
        write_metrics(folder, found.progress.history)
        write_report(folder, facts=found.facts, config=config, progress=found.progress)


def _report(folder: Path, facts: RunFacts, config: RunConfig, progress: Progress, timing: list[Timing]) -> Report:
    has_matrix = progress.best_confusion is not None
    is_tracked = config.tracker == "tensorboard"
    return Report(
        name=folder.name,
        summary=_summary(config, progress),
        remarks=tuple(_remarks(facts)),
        curves=_last_epoch(progress),
        validation=f"Validation clips in epoch {progress.best_epoch}; the test clips play no part."
        if has_matrix
        else "",
        classes=validated_classes(_confusion(progress), facts.class_names) if has_matrix else (),
        tables=(
            data_table(facts),
            environment_table(timing),
            configuration_table(config, facts, read_choices(folder / CHOICES_FILE)),
            model_table(facts),
        ),
        command=f"tensorboard --logdir {shlex.quote(str(folder))}" if is_tracked else "",
    )


def _confusion(progress: Progress) -> npt.NDArray[np.int64]:
    return np.array(progress.best_confusion, dtype=np.int64)


def _best_row(progress: Progress) -> EpochRow | None:
    """The epoch whose validation was the best; None where nothing was validated."""
    rows = (row for row in progress.history if row.epoch == progress.best_epoch and row.val_top1 is not None)
    return next(rows, None)


def _summary(config: RunConfig, progress: Progress) -> str:
    text = f"Epoch {progress.epoch} of {config.epochs}: {progress.finished or 'not finished'}."
    best = _best_row(progress)
    if not progress.history:
        return text
    if best is None:
        return f"{text} Nothing was set aside for validation: best is the last state."
    share = 100 * (best.val_top1 or 0.0)
    return f"{text} Best validation top-1 {share:.1f} % in epoch {best.epoch} ({counted(best.val_clips, 'clip')})."


def _remarks(facts: RunFacts) -> list[str]:
    remarks = []
    if facts.split == "all":
        remarks.append("Trained on every clip: a sanity check, not a result.")
    if facts.synthetic:
        remarks.append("The data is the embedded synthetic set: these numbers say nothing about HMDB51.")
    return remarks


def _last_epoch(progress: Progress) -> str:
    if not progress.history:
        return ""
    last = progress.history[-1]
    return f"Last epoch: training loss {last.train_loss:.4f}, training top-1 {100 * last.train_top1:.1f} %."


# As Markdown


def _markdown(report: Report) -> str:
    lines = [f"# Run {report.name}", "", " ".join([report.summary, *report.remarks]), ""]
    if report.curves:
        lines += ["## Curves", "", report.curves, "", f"![Curves]({CURVES_FILE})", ""]
    if report.validation:
        lines += ["## Confusions", "", report.validation, "", f"![Confusion matrix]({CONFUSION_FILE})", ""]
        rows = [(each.name, str(each.num_clips), *_percents(each)) for each in report.classes]
        lines += ["## Classes", "", *markdown_table(("class", "clips", "precision %", "recall %"), rows), ""]
    for table in report.tables:
        lines += [f"## {table.title}", "", *markdown_table(table.columns, table.rows), ""]
    if report.command:
        lines += ["## TensorBoard", "", f"    {report.command}", ""]
    return "\n".join(lines)


def _percents(each: ValidatedClass) -> tuple[str, str]:
    """Precision and recall, empty where there is nothing to count."""
    return (
        f"{100 * each.precision:.1f}" if each.num_predicted else "",
        f"{100 * each.recall:.1f}" if each.num_clips else "",
    )


# As a page


def _page(
    folder: Path, report: Report, facts: RunFacts, config: RunConfig, progress: Progress, timing: list[Timing]
) -> str:
    pictures, note = _clip_pictures(folder, facts, config, progress)
    answers = progress.best_answers
    content = {
        "report": report,
        "figures": _figures(config, progress, timing),
        "curves": curves_address(progress.history) if progress.history else "",
        "classes": _class_table(report.classes),
        "num_mistakes": sum(each.shares[0][0] != each.label for each in answers),
        "note": note,
        "data": page_data(_confusion(progress), facts.class_names, answers, pictures) if report.validation else {},
    }
    return render_page("train.run.report", "report", content, has_tables=True, parts=(TEMPLATES,))


def _clip_pictures(folder: Path, facts: RunFacts, config: RunConfig, progress: Progress) -> tuple[ClipPictures, str]:
    """What the page shows of validation clips, and a word on why it shows none."""
    shards, manifests = place_of_shards(config), Path(config.manifests)
    nothing = ClipPictures(films={}, num_frames=1, explain=explain_command(folder, shards=shards, manifests=manifests))
    if progress.best_confusion is not None and not progress.best_answers:
        return nothing, "The best epoch is of an earlier version, which did not note what became of which clip."
    if not progress.best_answers:
        return nothing, ""
    try:
        dataset = read_dataset(manifests)
        if dataset.dataset_id != facts.dataset_id:
            return nothing, f"Without moving pictures: {manifests} is of another data set by now."
        clip_ids = [each.clip_id for each in progress.best_answers]
        return clip_pictures(
            clip_ids,
            read_manifests(manifests, columns=CLIP_COLUMNS),
            run=folder,
            shards=shards,
            manifests=manifests,
            dataset=dataset,
            share=_ROOM,
        ), ""
    except (DataError, OSError) as error:
        return nothing, f"Without moving pictures: {error}."


def _figures(config: RunConfig, progress: Progress, timing: list[Timing]) -> list[tuple[str, str]]:
    """The numbers at the top of the page: value and label."""
    best = _best_row(progress)
    validation = (
        []
        if best is None
        else [
            (f"{100 * (best.val_top1 or 0.0):.1f} %", "validation top-1"),
            (f"{100 * (best.val_mean_class_accuracy or 0.0):.1f} %", "mean class accuracy"),
            (str(best.epoch), "best epoch"),
            (f"{best.val_clips:,}", "validation clips"),
        ]
    )
    seconds = sum(row.seconds for row in timing)
    return [*validation, (f"{progress.epoch} of {config.epochs}", "epochs"), (duration_text(seconds), "of training")]


def _class_table(classes: tuple[ValidatedClass, ...]) -> Table:
    def share(value: float, text: str) -> Cell:
        return Cell(text=text, key=value if text else -1.0, bar=value)

    rows = []
    for each in classes:
        precision, recall = _percents(each)
        rows.append(
            (
                Cell(text=each.name, key=each.name),
                Cell(text=str(each.num_clips), key=each.num_clips),
                Cell(text=str(each.num_predicted), key=each.num_predicted),
                share(each.recall, recall),
                share(each.precision, precision),
            )
        )
    columns = ("class", "clips", "predicted", "recall %", "precision %")
    return Table(name="classes", columns=columns, rows=tuple(rows))
