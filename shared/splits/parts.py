"""Which clips train and which test: HMDB51's official splits with the ``full`` protocol, and whole sources held out."""

from __future__ import annotations

import csv
import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from shared.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Part = Literal["train", "val", "test", "unused"]
_USED: tuple[Part, ...] = ("train", "val", "test")


def stem_with_part(stem: str, part: Part | None) -> str:
    """The stem that `fetch` gives a video where one of another part has its own: ``001`` -> ``001_test``."""
    return f"{stem}_{part}"


def stem_without_part(stem: str) -> str:
    """The stem as it was before, and others as they are."""
    original, _, part = stem.rpartition("_")
    return original if part in _USED else stem


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSplits:
    """A clip's part in each split: train, test or unused (``split_full`` uses every clip)."""

    split1: str
    split2: str
    split3: str
    split_full: str


@functools.cache
def official_splits() -> dict[str, ClipSplits]:
    """The committed table of all 6766 clips of HMDB51, keyed by clip_id, in its order."""
    with _table_path().open(encoding="utf-8", newline="") as file:
        return {row.pop("clip_id"): ClipSplits(**row) for row in csv.DictReader(file)}


def _table_path() -> Path:
    here = Path(__file__).parent
    installed, checkout = here / "hmdb51_splits.csv", here.parents[1] / "data_manifests" / "hmdb51_splits.csv"
    for path in (installed, checkout):
        if path.is_file():
            return path
    raise DataError(f"the table of official splits is missing at {checkout}; install the package anew")


def hold_out_sources(
    labels: Sequence[str], groups: Sequence[str], *, num_folds: int, num_held_out: int, seed: int
) -> npt.NDArray[np.bool_]:
    """Hold out whole sources: bool (N,), True in ``num_held_out`` of ``num_folds`` folds of StratifiedGroupKFold.

    With fewer than two sources nothing can be held out: all False.
    """
    held_out = np.zeros(len(labels), dtype=np.bool_)
    num_folds = min(num_folds, len(set(groups)))
    if num_folds < 2 or num_held_out < 1:
        return held_out
    # Stratification needs as many clips of each class as there are folds; smaller classes are taken as one.
    small = {label for label, count in Counter(labels).items() if count < num_folds}
    hints = _numbered(["" if label in small else label for label in labels])
    if np.bincount(hints).max() < num_folds:
        return _hold_out_at_random(groups, share=num_held_out / num_folds, seed=seed)
    from shared.splits.folds import stratified_group_folds  # numba is heavy, and some commands split nothing

    folds = stratified_group_folds(hints, _numbered(groups), num_folds=num_folds, seed=seed)
    return np.asarray(folds < num_held_out)


def _numbered(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """The place of each name among the sorted ones."""
    places = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.fromiter((places[name] for name in names), dtype=np.int64, count=len(names))


def validation_part(classes: Sequence[str], sources: Sequence[str], *, fraction: float) -> npt.NDArray[np.bool_]:
    """Set aside whole sources of a split's N training rows, about ``fraction`` of them, stratified by class: bool (N,).

    A pure function of the rows in their order, that of the manifests, and the fraction: `hmdb-prep balance` and every
    run on the split set aside the same clips. A class is never set aside whole: the sources that would do so stay in
    training. Where there are few sources, all may be False.
    """
    if fraction == 0:
        return np.zeros(len(classes), dtype=np.bool_)
    held_out = hold_out_sources(classes, sources, num_folds=max(2, round(1 / fraction)), num_held_out=1, seed=0)
    remaining = {name for name, out in zip(classes, held_out, strict=True) if not out}
    needed = {source for source, name in zip(sources, classes, strict=True) if name not in remaining}
    return held_out & ~np.array([source in needed for source in sources], dtype=np.bool_)


def _hold_out_at_random(groups: Sequence[str], *, share: float, seed: int) -> npt.NDArray[np.bool_]:
    names = np.unique(np.asarray(groups))
    count = min(len(names) - 1, max(1, round(share * len(names))))
    chosen = set(np.random.default_rng(seed).permutation(names)[:count])
    return np.array([group in chosen for group in groups], dtype=np.bool_)


def part_of(frame: pd.DataFrame, *, split: str, part: Part) -> pd.DataFrame:
    """The manifest rows of one part of a split. split: 1, 2, 3 or full."""
    return frame[frame[split_column(split)] == part]


def split_column(split: str) -> str:
    """The manifests' column of split 1, 2, 3 or full."""
    return f"split_{split}" if split == "full" else f"split{split}"


def has_val_rows(frame: pd.DataFrame, *, split: str) -> bool:
    """Whether a split names the clips that choose the best state of a model, as splits of one's own may."""
    return split != "all" and not part_of(frame, split=split, part="val").empty


def train_and_val(frame: pd.DataFrame, *, split: str, val_fraction: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest rows of a split that are trained on, and those that choose the best state of a model.

    The latter are its ``val`` rows; where it has none, ``validation_part`` of its training rows. Split ``all`` trains
    on every clip.
    """
    training = frame if split == "all" else part_of(frame, split=split, part="train")
    if has_val_rows(frame, split=split):
        return training, part_of(frame, split=split, part="val")
    held_out = validation_part(list(training["class_name"]), list(training["source"]), fraction=val_fraction)
    return training[~held_out], training[held_out]
