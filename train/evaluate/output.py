"""An evaluation as files and in the terminal: JSON, Markdown, CSV, and the confusion matrix as a picture."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.console import print_table, say
from shared.files import whole_file, write_csv, write_text
from shared.tables import markdown_table
from train.data.views import Views
from train.evaluate.results import MEASURES, TAG_MEANINGS, ConfusedPair, SplitResult, summary
from train.run.pictures import draw_confusion

EVALUATION_FOLDER = "evaluation"
JSON_FILE = "metrics.json"
MARKDOWN_FILE = "report.md"
CONFUSION_CSV = "confusion.csv"
CONFUSION_PNG = "confusion.png"
CLASSES_CSV = "classes.csv"
PREDICTIONS_CSV = "predictions.csv"

_PAIRS_SHOWN = 10
_CLIPS_SHOWN = 3
_WORST_SHOWN = 60  # classes in the terminal; the files hold all


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """The results of one or several splits of a run."""

    run: str
    """Its name, as it is printed."""
    folder: Path
    views: Views
    calibrated: bool
    dataset_id: str
    results: tuple[SplitResult, ...]


def write_evaluation(evaluation: Evaluation, *, split_folders: Sequence[Path]) -> list[Path]:
    """Write every split's files to ``<its folder>/evaluation``, of several splits also their summary to the run's.

    With views other than 1x1 the files go to ``evaluation/<views>``, calibrated ones to ``calibrated`` below that.
    Returns the folders.
    """
    written = []
    for result, folder in zip(evaluation.results, split_folders, strict=True):
        one = dataclasses.replace(evaluation, folder=folder, results=(result,))
        target = _target(one)
        _write_texts(target, one)
        _write_tables(target, result)
        _write_confusion(target / CONFUSION_PNG, result)
        written.append(target)
    if len(evaluation.results) > 1:
        target = _target(evaluation)
        _write_texts(target, evaluation)
        written.append(target)
    return written


def _target(evaluation: Evaluation) -> Path:
    target = evaluation.folder / EVALUATION_FOLDER
    if evaluation.views != Views():
        target /= str(evaluation.views)
    return target / "calibrated" if evaluation.calibrated else target


def _write_texts(target: Path, evaluation: Evaluation) -> None:
    write_text(target / JSON_FILE, evaluation_json(evaluation) + "\n")
    write_text(target / MARKDOWN_FILE, evaluation_markdown(evaluation))


def _write_tables(target: Path, result: SplitResult) -> None:
    names = result.class_names
    matrix = [[name, *map(int, row)] for name, row in zip(names, result.metrics.confusion, strict=True)]
    write_csv(target / CONFUSION_CSV, ("true", *names), matrix)
    columns = ("class_name", "num_clips", "num_predicted", "precision", "recall")
    write_csv(target / CLASSES_CSV, columns, [[getattr(each, name) for name in columns] for each in result.classes])
    rows = [
        [clip_id, names[label], names[int(shares.argmax())], *map(float, shares)]
        for clip_id, label, shares in zip(result.clip_ids, result.labels, result.probabilities, strict=True)
    ]
    write_csv(target / PREDICTIONS_CSV, ("clip_id", "true", "predicted", *names), rows)


def _write_confusion(path: Path, result: SplitResult) -> None:
    metrics = result.metrics
    title = f"Split {result.split}: {100 * metrics.top1:.1f} % of {metrics.num_clips} clips right"
    figure = draw_confusion(metrics.confusion, result.class_names, title=title, remarks=result.remarks)
    with whole_file(path) as temporary:
        figure.savefig(temporary)


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
        "num_clips": result.metrics.num_clips,
        **{key: getattr(result.metrics, key) for key in (*MEASURES, "loss")},
        **_calibration_content(result),
        "classes": [vars(each) for each in result.classes],
        "confused_pairs": [vars(each) | {"count": len(each.clip_ids)} for each in result.confused],
        "tags": [vars(each) for each in result.tags],
    }


def _calibration_content(result: SplitResult) -> dict[str, object]:
    if result.calibration is None or result.uncalibrated is None:
        return {}
    before = {key: getattr(result.uncalibrated, key) for key in ("calibration_error", "loss")}
    return {"calibration": dataclasses.asdict(result.calibration), "uncalibrated": before}


def _sentences(result: SplitResult) -> list[str]:
    """What to say of a split beside its numbers."""
    sentences = list(result.remarks)
    if result.calibration is not None and result.uncalibrated is not None:
        before, after = (_percent(metrics.calibration_error) for metrics in (result.uncalibrated, result.metrics))
        sentences.append(
            f"calibrated with temperature {result.calibration.temperature:.2f}, fitted on "
            f"{result.calibration.num_clips} validation clips: expected calibration error {before} % before, "
            f"{after} % after"
        )
    return sentences


def summary_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Measures in percent by split, and over several splits mean ± standard deviation."""
    rows: list[tuple[str, ...]] = [
        (result.split, str(result.metrics.num_clips), *(_percent(getattr(result.metrics, key)) for key in MEASURES))
        for result in evaluation.results
    ]
    if len(rows) > 1:
        overall = summary(evaluation.results).values()
        total = str(sum(result.metrics.num_clips for result in evaluation.results))
        cells = (f"{_percent(mean)} ± {_percent(deviation or 0.0)}" for mean, deviation in overall)
        rows.append(("mean ± std", total, *cells))
    return rows


SUMMARY_COLUMNS = ("split", "clips", *(f"{name} %" for name in MEASURES.values()))
CLASS_COLUMNS = ("class", "clips", "predicted", "precision %", "recall %")
PAIR_COLUMNS = ("true", "taken for", "clips", "for example")
TAG_COLUMNS = ("tag", "value", "clips", "top-1 %")


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
            each.tag.replace("_", " "),
            TAG_MEANINGS[each.tag].get(each.value, "(not in the name)"),
            str(each.num_clips),
            _percent(each.top1),
        )
        for each in result.tags
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def evaluation_markdown(evaluation: Evaluation) -> str:
    """The report as Markdown."""
    lines = [f"# {evaluation.run}", "", f"Views: {evaluation.views} (temporal candidates x spatial crops).", ""]
    lines += [f"Split {result.split}: {text}." for result in evaluation.results for text in _sentences(result)]
    lines += ["", *markdown_table(SUMMARY_COLUMNS, summary_rows(evaluation))]
    if len(evaluation.results) > 1:
        lines += ["", "The standard deviation is that of the splits (n - 1)."]
    for result in evaluation.results:
        lines += ["", f"## Split {result.split}", "", "### By tag", "", *markdown_table(TAG_COLUMNS, tag_rows(result))]
        if result.confused:
            table = markdown_table(PAIR_COLUMNS, pair_rows(result.confused))
            lines += ["", "### Most confused", "", *table]
        lines += ["", "### By class", "", *markdown_table(CLASS_COLUMNS, class_rows(result))]
    return "\n".join(lines) + "\n"


def print_evaluation(evaluation: Evaluation, *, as_json: bool, written: Sequence[Path]) -> None:
    """Print the result: JSON alone, or tables and a last line that says what was written where."""
    if as_json:
        say(evaluation_json(evaluation))
        return
    for result in evaluation.results:
        title = f"Split {result.split}"
        print_table(f"{title}: by class", CLASS_COLUMNS, class_rows(result)[:_WORST_SHOWN])
        if result.confused:
            print_table(f"{title}: most confused", PAIR_COLUMNS, pair_rows(result.confused))
        print_table(f"{title}: by tag", TAG_COLUMNS, tag_rows(result))
    print_table(f"{evaluation.run}, views {evaluation.views}", SUMMARY_COLUMNS, summary_rows(evaluation))
    for result in evaluation.results:
        for text in _sentences(result):
            say(f"split {result.split}: {text}")
    names = f"{JSON_FILE}, {MARKDOWN_FILE}, {CONFUSION_CSV}, {CONFUSION_PNG}, {CLASSES_CSV}, {PREDICTIONS_CSV}"
    say(f"wrote {', '.join(str(folder) for folder in written)}: {names}")
