"""The file of an evaluation that says in one row a clip what became of it: ``clips.csv``, for people and `compare`."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

from shared.errors import DataError
from shared.files import write_csv
from train.evaluate.results import SplitResult

CLIPS_CSV = "clips.csv"


@dataclass(frozen=True, kw_only=True)
class ClipResult:
    """What became of one test clip: a row of clips.csv, whose columns are these fields."""

    clip_id: str
    source: str
    true: str
    """Its class."""
    predicted: str
    probability_true: float
    """P(its class | clip), in [0, 1]."""
    probability_predicted: float
    rank: int
    """The place of its class among all, 1 for the most probable one."""


_COLUMNS = tuple(field.name for field in dataclasses.fields(ClipResult))


def clip_results(result: SplitResult) -> Iterator[ClipResult]:
    """The clips of a split, in its order."""
    names, predicted, ranks = result.class_names, result.predicted, result.ranks
    for place in range(len(result.clip_ids)):
        label, guess = int(result.labels[place]), int(predicted[place])
        yield ClipResult(
            clip_id=result.clip_ids[place],
            source=result.sources[place],
            true=names[label],
            predicted=names[guess],
            probability_true=float(result.probabilities[place, label]),
            probability_predicted=float(result.probabilities[place, guess]),
            rank=int(ranks[place]),
        )


def write_clip_results(path: Path, result: SplitResult) -> None:
    """Write the file whole."""
    write_csv(path, _COLUMNS, (dataclasses.astuple(each) for each in clip_results(result)))


def read_clip_results(path: Path) -> list[ClipResult]:
    """The rows of the file. Raises DataError where it is damaged."""
    kinds = get_type_hints(ClipResult)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [ClipResult(**{name: kinds[name](row[name]) for name in _COLUMNS}) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); make it again with `lsvit-train evaluate`") from error
