"""Writes an evaluation to its folders, figures and texts before pictures, and prints it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from shared.files import write_csv, write_text
from shared.terminal.console import counted, print_table, say, write_out
from train.confusions.films import ClipPictures
from train.confusions.picture import write_confusion
from train.data.views import Views
from train.evaluate.clip_results import CLIPS_CSV, write_clip_results
from train.evaluate.page import evaluation_page
from train.evaluate.results import Evaluation, SplitResult
from train.evaluate.texts import (
    CLASS_COLUMNS,
    INTERVAL_NOTE,
    PAIR_COLUMNS,
    QUARTER_COLUMNS,
    SUMMARY_COLUMNS,
    TAG_COLUMNS,
    class_rows,
    evaluation_json,
    evaluation_markdown,
    pair_rows,
    quarter_rows,
    sentences,
    summary_rows,
    tag_rows,
)
from train.trained.folders import EVALUATION_FOLDER, EVALUATION_JSON

JSON_FILE = EVALUATION_JSON
MARKDOWN_FILE = "report.md"
PAGE_FILE = "report.html"
CONFUSION_CSV = "confusion.csv"
CONFUSION_PNG = "confusion.png"
CLASSES_CSV = "classes.csv"
PREDICTIONS_CSV = "predictions.csv"

_WORST_SHOWN = 60  # classes in the terminal; the files hold all


def write_texts(evaluation: Evaluation, *, split_folders: Sequence[Path]) -> list[Path]:
    """Write the figures, texts and tables of every split to ``<its folder>/evaluation``, a summary to the run's.

    With views other than 1x1 the files go to ``evaluation/<views>``, calibrated ones to ``calibrated`` below that.
    Returns the folders.
    """
    targets = []
    for one in _parts(evaluation, split_folders):
        target = evaluation_folder(one.folder, views=one.views, calibrated=one.calibrated)
        write_text(target / JSON_FILE, evaluation_json(one) + "\n")
        write_text(target / MARKDOWN_FILE, evaluation_markdown(one))
        if len(one.results) == 1:
            _write_tables(target, one.results[0])
        targets.append(target)
    return targets


def write_pictures(evaluation: Evaluation, *, split_folders: Sequence[Path], pictures: Sequence[ClipPictures]) -> None:
    """Write report.html and confusion.png beside the texts. pictures: what the page shows of each split's clips."""
    places = {id(result): shown for result, shown in zip(evaluation.results, pictures, strict=True)}
    for one in _parts(evaluation, split_folders):
        target = evaluation_folder(one.folder, views=one.views, calibrated=one.calibrated)
        write_text(target / PAGE_FILE, evaluation_page(one, [places[id(result)] for result in one.results]))
        if len(one.results) == 1:
            _write_confusion(target / CONFUSION_PNG, one.results[0])


def _parts(evaluation: Evaluation, split_folders: Sequence[Path]) -> Iterator[Evaluation]:
    """The evaluation of each split by itself, and of several also the whole."""
    for result, folder in zip(evaluation.results, split_folders, strict=True):
        yield dataclasses.replace(evaluation, folder=folder, results=(result,))
    if len(evaluation.results) > 1:
        yield evaluation


def evaluation_folder(folder: Path, *, views: Views, calibrated: bool) -> Path:
    """Where the files of an evaluation lie in the folder of a run or of one of its splits."""
    target = folder / EVALUATION_FOLDER
    if views != Views():
        target /= str(views)
    return target / "calibrated" if calibrated else target


def _write_tables(target: Path, result: SplitResult) -> None:
    """The tables of one split. Rows are made one by one: a thousand classes times thousands of clips are many."""
    names = result.class_names
    matrix = ([name, *map(int, row)] for name, row in zip(names, result.metrics.confusion, strict=True))
    write_csv(target / CONFUSION_CSV, ("true", *names), matrix)
    columns = ("class_name", "num_clips", "num_predicted", "precision", "recall")
    write_csv(target / CLASSES_CSV, columns, ([getattr(each, name) for name in columns] for each in result.classes))
    write_clip_results(target / CLIPS_CSV, result)
    rows = (
        [clip_id, names[label], names[int(shares.argmax())], *map(float, shares)]
        for clip_id, label, shares in zip(result.clip_ids, result.labels, result.probabilities, strict=True)
    )
    write_csv(target / PREDICTIONS_CSV, ("clip_id", "true", "predicted", *names), rows)


def _write_confusion(path: Path, result: SplitResult) -> None:
    metrics = result.metrics
    title = f"Split {result.split}: {100 * metrics.top1:.1f} % of {counted(metrics.num_clips, 'clip')} right"
    write_confusion(path, metrics.confusion, result.class_names, title=title, remarks=result.remarks)


def print_evaluation(evaluation: Evaluation, *, as_json: bool, written: Sequence[Path]) -> None:
    """Print the result: JSON alone, or tables and a last line that says what was written where."""
    if as_json:
        write_out(evaluation_json(evaluation))
        return
    for result in evaluation.results:
        title = f"Split {result.split}"
        print_table(f"{title}: by class", CLASS_COLUMNS, class_rows(result)[:_WORST_SHOWN])
        if result.confused:
            print_table(f"{title}: most confused", PAIR_COLUMNS, pair_rows(result.confused))
        print_table(f"{title}: by tag", TAG_COLUMNS, tag_rows(result))
        print_table(f"{title}: by quarter of a feature", QUARTER_COLUMNS, quarter_rows(result))
    print_table(f"{evaluation.run}, views {evaluation.views}", SUMMARY_COLUMNS, summary_rows(evaluation))
    say(INTERVAL_NOTE)
    for result in evaluation.results:
        for text in sentences(result):
            say(f"split {result.split}: {text}")
    names = (PAGE_FILE, JSON_FILE, MARKDOWN_FILE, CONFUSION_CSV, CONFUSION_PNG, CLASSES_CSV, CLIPS_CSV, PREDICTIONS_CSV)
    say(f"wrote {', '.join(str(folder) for folder in written)}: {', '.join(names)}")
