"""The folds of a study on real video: which clips each one tests, their manifests, and whether runs still fit them."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.errors import DataError, UsageError
from shared.files import write_bytes, write_csv
from shared.manifests.files import CLIPS_FOLDER, DATASET_FILE, SPLIT_COLUMNS, read_manifests
from train.evaluate.output import PREDICTIONS_CSV
from train.trained.folders import EVALUATION_FOLDER


def fold_of_clips(classes: Sequence[str], sources: Sequence[str], *, num_folds: int) -> npt.NDArray[np.int64]:
    """The fold that tests each clip, int64 (N,): whole sources, classes as even as these allow.

    Raises UsageError where there are too few sources or clips for so many folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    num_sources, largest_class = len(set(sources)), max(Counter(classes).values())
    most = min(num_sources, largest_class)
    if num_folds > most:
        remedy = f"name at most {most}" if most > 1 else "more videos are needed"
        raise UsageError(
            f"--folds is {num_folds}; each needs a source and a clip of the largest class, of which there are "
            f"{num_sources} and {largest_class}: {remedy}"
        )
    fold = np.empty(len(classes), np.int64)
    divided = StratifiedGroupKFold(num_folds, shuffle=True, random_state=0).split(fold, classes, sources)
    for number, (_, members) in enumerate(divided):
        fold[members] = number
    if len(set(fold.tolist())) < num_folds:  # classes come first, and few sources may all go elsewhere
        raise UsageError(f"--folds is {num_folds}, and these sources leave one without a clip; name fewer")
    return fold


def fold_by_clip(manifests: Path, *, num_folds: int) -> dict[str, int]:
    """The fold, from 0, that tests each clip of the manifests. Raises UsageError as `fold_of_clips` does."""
    clips = read_manifests(manifests, columns=["clip_id", "class_name", "source"])
    fold = fold_of_clips(clips["class_name"], clips["source"], num_folds=num_folds)
    return dict(zip(clips["clip_id"], fold.tolist(), strict=True))


def fold_folders(folder: Path, *, num_folds: int) -> list[Path]:
    """Where the manifests of the folds are."""
    return [folder / f"{number + 1}of{num_folds}" for number in range(num_folds)]


def write_folds(manifests: Path, folder: Path, fold: Mapping[str, int]) -> list[Path]:
    """Copies of the manifests, one for each fold, in which split 1 is the fold: their folders. fold: by clip."""
    places = fold_folders(folder, num_folds=len(set(fold.values())))
    for number, place in enumerate(places):
        (place / CLIPS_FOLDER).mkdir(parents=True, exist_ok=True)
        write_bytes(place / DATASET_FILE, (manifests / DATASET_FILE).read_bytes())  # others may be reading it
        for file in sorted((manifests / CLIPS_FOLDER).glob("*.csv")):
            rows = pd.read_csv(file, dtype=str, keep_default_na=False)
            rows[SPLIT_COLUMNS[0]] = ["test" if fold[clip_id] == number else "train" for clip_id in rows["clip_id"]]
            write_csv(place / CLIPS_FOLDER / file.name, list(rows.columns), rows.itertuples(index=False))
    return places


def folds_checksum(tested: Iterable[tuple[str, int]]) -> str:
    """SHA-256 of which clip is tested by which fold, in any order."""
    lines = sorted(f"{clip_id}\t{fold}\n" for clip_id, fold in tested)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def stored_checksum(folder: Path, *, num_folds: int) -> str:
    """The same of what `write_folds` wrote. Raises DataError where it cannot be read."""
    columns = ["clip_id", SPLIT_COLUMNS[0]]
    try:
        stored = [read_manifests(place, columns=columns) for place in fold_folders(folder, num_folds=num_folds)]
    except DataError as error:
        raise DataError(f"{folder} does not say what the runs beside it tested; name another --runs") from error
    return folds_checksum(
        (clip_id, number)
        for number, clips in enumerate(stored)
        for clip_id in clips.loc[clips[SPLIT_COLUMNS[0]] == "test", "clip_id"]
    )


def check_tested(runs: Path, fold: dict[str, int], *, num_folds: int) -> None:
    """Raise DataError where a run that is there tested other clips than those of its fold."""
    for number, place in enumerate(fold_folders(runs, num_folds=num_folds)):
        expected = {clip_id for clip_id, own in fold.items() if own == number}
        for file in sorted(runs.glob(f"*-{place.name}-seed*/{EVALUATION_FOLDER}/{PREDICTIONS_CSV}")):
            if read_right(file).keys() != expected:
                name = file.parent.parent.name
                raise DataError(f"{name} in {runs} tested other clips than those of its fold; name another --runs")


def read_right(predictions: Path) -> dict[str, bool]:
    """Whether each test clip of a run was right. Raises DataError where the file is damaged."""
    try:
        with predictions.open(encoding="utf-8", newline="") as file:
            return {row["clip_id"]: row["true"] == row["predicted"] for row in csv.DictReader(file)}
    except (KeyError, ValueError, csv.Error) as error:
        raise DataError(f"{predictions} is damaged ({error}); delete it, then its run is tested again") from error
