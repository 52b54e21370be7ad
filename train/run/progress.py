"""How far a run is, and what it has measured so far: the part of a run that is data."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from shared.errors import DataError
from shared.files import write_csv
from shared.terminal.console import counted
from train.confusions.answers import ClipAnswer, telling_answers
from train.learn.metrics import Floats, Integers, Metrics, measure

METRICS_FILE = "metrics.csv"
TIMING_FILE = "timing.csv"


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One row of metrics.csv. Accuracies in [0, 1]; the val_ columns are empty where nothing was validated.

    All of it follows from the data, the configuration and the seed: a run that was continued writes the same file.
    """

    epoch: int
    """From 1."""
    step: int
    """Optimiser steps since the start of the run."""
    learning_rate: float
    """Of the epoch's last step."""
    train_loss: float
    """Mean over the epoch's clips, with smoothing, mixing and augmentation."""
    train_top1: float
    """Of the label with the largest share in a mixed clip."""
    val_clips: int
    val_loss: float | None
    """Without smoothing."""
    val_top1: float | None
    val_top5: float | None
    val_mean_class_accuracy: float | None
    val_calibration_error: float | None
    best: int
    """1 where `best` was replaced, else 0."""


METRICS_COLUMNS = tuple(field.name for field in dataclasses.fields(EpochRow))


@dataclass(frozen=True, kw_only=True, eq=False)
class Validation:
    """What a model answered to the validation clips."""

    metrics: Metrics
    answers: tuple[ClipAnswer, ...]
    """The most telling ones, for the report."""


def validation_of(clip_ids: Sequence[str], labels: Integers, probabilities: Floats) -> Validation:
    """Of N >= 1 clips. labels: int64 (N,); probabilities: float64 (N, classes)."""
    return Validation(metrics=measure(probabilities, labels), answers=telling_answers(clip_ids, labels, probabilities))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands."""

    epoch: int = 0
    """The epoch that comes next or goes on, from 0."""
    step_in_epoch: int = 0
    """Its step that comes next, from 0."""
    step: int = 0
    """Optimiser steps done since the start of the run."""
    loss_sum: float = 0.0
    """Of the current epoch so far, like the two numbers below."""
    num_right: float = 0.0
    num_clips: float = 0.0
    history: tuple[EpochRow, ...] = ()
    """The epochs that are over."""
    best_key: tuple[float, float] | None = None
    """(top-1, -loss) of the best validation."""
    best_epoch: int = 0
    best_confusion: tuple[tuple[int, ...], ...] | None = None
    """Of the validation in the best epoch; true class by row."""
    best_answers: tuple[ClipAnswer, ...] = ()
    """Of the same validation; none in checkpoints from before they were noted."""
    epochs_since_best: int = 0
    finished: str = ""
    """Why the run is over; empty while it is not."""

    def after_step(self, *, loss_sum: float, num_right: float, num_clips: float) -> Progress:
        """One optimiser step further."""
        return dataclasses.replace(
            self,
            step_in_epoch=self.step_in_epoch + 1,
            step=self.step + 1,
            loss_sum=self.loss_sum + loss_sum,
            num_right=self.num_right + num_right,
            num_clips=self.num_clips + num_clips,
        )

    def after_epoch(
        self, validation: Validation | None, *, learning_rate: float, epochs: int, patience: int
    ) -> Progress:
        """The epoch is over; its row is the last of ``history``, and ``finished`` says whether another one follows.

        validation: None without one. learning_rate: of its last step. patience: 0 for none.
        """
        metrics = None if validation is None else validation.metrics
        row = epoch_row(self, metrics, learning_rate=learning_rate)
        key = self.best_key if not row.best else validation_key(row)
        confusion = None if metrics is None else tuple(tuple(row) for row in metrics.confusion.tolist())
        since_best, finished = 0 if row.best else self.epochs_since_best + 1, ""
        if self.epoch + 1 >= epochs:
            finished = "all epochs done"
        elif patience and metrics is not None and since_best >= patience:
            finished = f"no better validation for {counted(patience, 'epoch')} (--patience)"
        return dataclasses.replace(
            self,
            epoch=self.epoch + 1,
            step_in_epoch=0,
            loss_sum=0.0,
            num_right=0.0,
            num_clips=0.0,
            # Earlier versions noted the unfinished epoch at which a time limit stopped: that row is replaced.
            history=(*(earlier for earlier in self.history if earlier.epoch != row.epoch), row),
            best_key=key,
            best_epoch=row.epoch if row.best else self.best_epoch,
            best_confusion=confusion if row.best else self.best_confusion,
            best_answers=validation.answers if row.best and validation is not None else self.best_answers,
            epochs_since_best=since_best,
            finished=finished,
        )


def epoch_row(progress: Progress, metrics: Metrics | None, *, learning_rate: float) -> EpochRow:
    """What the current epoch has reached so far; metrics: of its validation, None without one."""
    row = EpochRow(
        epoch=progress.epoch + 1,
        step=progress.step,
        learning_rate=learning_rate,
        train_loss=progress.loss_sum / progress.num_clips,
        train_top1=progress.num_right / progress.num_clips,
        val_clips=0 if metrics is None else metrics.num_clips,
        val_loss=None if metrics is None else metrics.loss,
        val_top1=None if metrics is None else metrics.top1,
        val_top5=None if metrics is None else metrics.top5,
        val_mean_class_accuracy=None if metrics is None else metrics.mean_class_accuracy,
        val_calibration_error=None if metrics is None else metrics.calibration_error,
        best=0,
    )
    key = validation_key(row)
    is_best = key is None or progress.best_key is None or key > progress.best_key
    return dataclasses.replace(row, best=int(is_best))


def validation_key(row: EpochRow) -> tuple[float, float] | None:
    """What `best` is chosen by: top-1 on the validation clips, then the smaller loss. None without validation."""
    if row.val_top1 is None or row.val_loss is None:
        return None
    return row.val_top1, -row.val_loss


def write_metrics(folder: Path, history: tuple[EpochRow, ...]) -> None:
    """Write metrics.csv; the file is whole or absent."""
    rows = [["" if value is None else value for value in dataclasses.astuple(row)] for row in history]
    write_csv(folder / METRICS_FILE, METRICS_COLUMNS, rows)


def read_metrics(folder: Path) -> list[EpochRow]:
    """The rows of metrics.csv; none where there is no such file. Raises DataError where it is damaged."""
    path = folder / METRICS_FILE
    if not path.exists():
        return []
    kinds = {field.name: str(field.type) for field in dataclasses.fields(EpochRow)}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{name: row[name] for name in METRICS_COLUMNS} for row in csv.DictReader(file)]
        return [EpochRow(**{name: _number(text, kinds[name]) for name, text in row.items()}) for row in rows]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); `lsvit-train run --resume` writes it again") from error


def _number(text: str, kind: str) -> Any:
    """A cell of metrics.csv: ``kind`` is the type of its field, as it is written there."""
    if not text and "None" in kind:
        return None
    return int(text) if kind == "int" else float(text)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One row of timing.csv: an epoch, or the part of it since the run was continued. No two runs write the same."""

    epoch: int
    steps: int
    seconds: float
    clips_per_second: float
    data_wait_share: float
    """The part of the time in which a step waited for data, in [0, 1]."""
    processes: int


TIMING_COLUMNS = tuple(field.name for field in dataclasses.fields(Timing))


def append_timing(folder: Path, timing: Timing) -> None:
    """Add a row to timing.csv."""
    path = folder / TIMING_FILE
    is_new = not path.exists() or not path.stat().st_size  # a kill may come between making the file and its first row
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(TIMING_COLUMNS)
        writer.writerow(f"{value:.4g}" if isinstance(value, float) else value for value in dataclasses.astuple(timing))


def read_timing(folder: Path) -> list[Timing]:
    """The rows of timing.csv; none where there is no such file. Raises DataError where it is damaged."""
    path = folder / TIMING_FILE
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            kinds = get_type_hints(Timing)
            return [Timing(**{name: kinds[name](row[name]) for name in TIMING_COLUMNS}) for row in csv.DictReader(file)]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it, it holds timings only") from error
