"""Several runs on the clips that all of them were tested on: measures, differences, and McNemar's exact test. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.errors import DataError
from shared.shards.data_sets import short_id
from train.compare.reading import EvaluatedRun, SplitEvaluation
from train.evaluate.clip_results import ClipResult
from train.evaluate.intervals import Interval, accuracy_intervals, difference_interval

MEASURES = ("top1", "top5", "mean_class_accuracy")


@dataclass(frozen=True, kw_only=True)
class RunMeasures:
    """One run on one split, measured on the common clips. Accuracies lie in [0, 1]."""

    run: str
    split: str
    num_clips: int
    top1: float
    top5: float
    mean_class_accuracy: float
    intervals: Mapping[str, Interval | None]
    """Of these three, by source."""
    parameters: int
    epochs: int
    minutes: float


@dataclass(frozen=True, kw_only=True)
class ChangedClip:
    """A clip that one run has right and the other wrong."""

    clip_id: str
    true: str
    first: str
    """What the first run took it for."""
    second: str


@dataclass(frozen=True, kw_only=True)
class PairResult:
    """A run against the first one, on one split."""

    first: str
    second: str
    split: str
    both_right: int
    first_only: int
    """Clips that the first has right and the second wrong."""
    second_only: int
    neither: int
    difference: float
    """Top-1 of the second less that of the first."""
    interval: Interval | None
    """Of the difference, by source."""
    p_value: float
    """McNemar's exact test, two-sided."""
    gained: tuple[ChangedClip, ...]
    """Right in the second alone."""
    lost: tuple[ChangedClip, ...]


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """A class of one split: how many of its common clips each run has right."""

    split: str
    class_name: str
    num_clips: int
    recalls: tuple[float, ...]
    """In the order of the runs."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that is compared."""

    runs: tuple[str, ...]
    splits: tuple[str, ...]
    measures: tuple[RunMeasures, ...]
    """Split by split, in the order of the runs."""
    pairs: tuple[PairResult, ...]
    classes: tuple[ClassRow, ...]
    options: Mapping[str, tuple[str, ...]]
    """Options of training that differ: a value a run."""
    notes: tuple[str, ...]


def compare_runs(runs: Sequence[EvaluatedRun]) -> Comparison:
    """Compare two runs or more. Raises DataError where they share no split, no clips, or disagree about classes."""
    splits = [split for split in runs[0].splits if all(split in run.splits for run in runs)]
    if not splits:
        has = "; ".join(f"{run.name} has {', '.join(run.splits)}" for run in runs)
        raise DataError(f"the runs were evaluated on no split in common: {has}; evaluate them on the same one")
    measures: list[RunMeasures] = []
    pairs: list[PairResult] = []
    classes: list[ClassRow] = []
    notes = _notes(runs, splits)
    for split in splits:
        parts = [run.splits[split] for run in runs]
        clip_ids = _common_clips(runs, split)
        most = max(len(part.clips) for part in parts)
        if len(clip_ids) < most:
            notes.append(
                f"split {split}: {len(clip_ids)} of up to {most} clips were tested by every run; figures are of these"
            )
        columns = [[part.clips[clip_id] for clip_id in clip_ids] for part in parts]
        measures += [_measured(run.name, part, clips) for run, part, clips in zip(runs, parts, columns, strict=True)]
        for run, clips in zip(runs[1:], columns[1:], strict=True):
            pairs.append(_pair(runs[0].name, run.name, split, columns[0], clips))
        classes += _class_rows(split, columns)
    return Comparison(
        runs=tuple(run.name for run in runs),
        splits=tuple(splits),
        measures=tuple(measures),
        pairs=tuple(pairs),
        classes=tuple(classes),
        options=_differing_options(runs),
        notes=tuple(notes),
    )


def _notes(runs: Sequence[EvaluatedRun], splits: Sequence[str]) -> list[str]:
    """What to know before the figures are believed."""
    parts = [run.splits[split] for run in runs for split in splits]
    notes = list(dict.fromkeys(remark for part in parts for remark in part.remarks))
    if len({part.dataset_id for part in parts}) > 1:
        ids = ", ".join(f"{run.name} {short_id(run.splits[splits[0]].dataset_id)}" for run in runs)
        notes.append(f"the data sets differ ({ids}); clips are matched by their names")
    if len({part.num_classes for part in parts}) > 1:
        counts = ", ".join(f"{run.name} {run.splits[splits[0]].num_classes}" for run in runs)
        notes.append(f"the runs choose among different numbers of classes ({counts}), and fewer are easier")
    for run in runs:
        if left_out := [split for split in run.splits if split not in splits]:
            notes.append(f"split {', '.join(left_out)} of {run.name} is left out: not every run has it")
        if any(run.splits[split].is_old for split in splits):
            notes.append(f"{run.name} was trained on since it was evaluated; `lsvit-train evaluate` measures it anew")
    return notes


def _common_clips(runs: Sequence[EvaluatedRun], split: str) -> list[str]:
    """The clips that every run was tested on, sorted. Raises DataError for none, or classes that differ."""
    parts = [run.splits[split] for run in runs]
    clip_ids = sorted(set.intersection(*(set(part.clips) for part in parts)))
    if not clip_ids:
        raise DataError(f"split {split}: no clip was tested by all runs; they are of different data sets")
    for clip_id in clip_ids:
        names = [part.clips[clip_id].true for part in parts]
        if len(set(names)) > 1:
            raise DataError(
                f"{clip_id} is {names[0]} in {runs[0].name} and another class in another run "
                f"({', '.join(sorted(set(names)))}); runs of different classes cannot be compared"
            )
    return clip_ids


def _measured(name: str, part: SplitEvaluation, clips: Sequence[ClipResult]) -> RunMeasures:
    ranks = np.array([clip.rank for clip in clips])
    sources = [clip.source for clip in clips]
    class_names = sorted({clip.true for clip in clips})
    labels = np.array([class_names.index(clip.true) for clip in clips], dtype=np.int64)
    recalls = [float((ranks[labels == label] == 1).mean()) for label in range(len(class_names))]
    return RunMeasures(
        run=name,
        split=part.split,
        num_clips=len(clips),
        top1=float((ranks == 1).mean()),
        top5=float((ranks <= 5).mean()),
        mean_class_accuracy=statistics.fmean(recalls),
        intervals=accuracy_intervals(ranks, labels, sources),
        parameters=part.parameters,
        epochs=part.epochs,
        minutes=part.minutes,
    )


def _pair(
    first: str, second: str, split: str, first_clips: Sequence[ClipResult], second_clips: Sequence[ClipResult]
) -> PairResult:
    one, other = _right(first_clips), _right(second_clips)
    sources = [clip.source for clip in first_clips]
    gained, lost = int((other & ~one).sum()), int((one & ~other).sum())
    changed = [
        ChangedClip(clip_id=before.clip_id, true=before.true, first=before.predicted, second=after.predicted)
        for before, after in zip(first_clips, second_clips, strict=True)
    ]
    return PairResult(
        first=first,
        second=second,
        split=split,
        both_right=int((one & other).sum()),
        first_only=lost,
        second_only=gained,
        neither=int((~one & ~other).sum()),
        difference=float(other.mean() - one.mean()),
        interval=difference_interval(one, other, sources),
        p_value=mcnemar(lost, gained),
        gained=tuple(clip for clip, is_so in zip(changed, other & ~one, strict=True) if is_so),
        lost=tuple(clip for clip, is_so in zip(changed, one & ~other, strict=True) if is_so),
    )


def _right(clips: Sequence[ClipResult]) -> npt.NDArray[np.bool_]:
    return np.array([clip.rank == 1 for clip in clips])


def mcnemar(first_only: int, second_only: int) -> float:
    """P-value of McNemar's exact test, two-sided: 1 where no clip changed sides.

    Of the clips that changed sides, each would go either way with probability 1/2 if the two were equally good (McNemar
    1947; the exact, binomial form). It takes clips for independent, which those of one source are not.
    """
    from scipy.stats import binomtest

    changed = first_only + second_only
    return float(binomtest(first_only, changed, 0.5).pvalue) if changed else 1.0


def _class_rows(split: str, columns: Sequence[Sequence[ClipResult]]) -> list[ClassRow]:
    """Every class of the common clips, the largest change from the first run to another one first."""
    places: dict[str, list[int]] = {}
    for place, clip in enumerate(columns[0]):
        places.setdefault(clip.true, []).append(place)
    rows = [
        ClassRow(
            split=split,
            class_name=name,
            num_clips=len(members),
            recalls=tuple(statistics.fmean(clips[place].rank == 1 for place in members) for clips in columns),
        )
        for name, members in places.items()
    ]
    return sorted(rows, key=lambda row: (-max(abs(recall - row.recalls[0]) for recall in row.recalls), row.class_name))


def _differing_options(runs: Sequence[EvaluatedRun]) -> dict[str, tuple[str, ...]]:
    keys = dict.fromkeys(key for run in runs for key in run.options)
    values = {key: tuple(run.options.get(key, "") for run in runs) for key in keys}
    return {key: each for key, each in values.items() if len(set(each)) > 1}


def over_splits(comparison: Comparison, run: str) -> dict[str, tuple[float, float]]:
    """Mean and sample standard deviation (n - 1) of each of MEASURES of a run over two splits or more."""
    rows = [row for row in comparison.measures if row.run == run]
    values = {key: [float(getattr(row, key)) for row in rows] for key in MEASURES}
    return {key: (statistics.fmean(each), statistics.stdev(each)) for key, each in values.items()}
