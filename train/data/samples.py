"""Which clips train, validate and test, and what one epoch shows of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shared.errors import DataError
from shared.manifests.balancing_plans import PlanRow
from shared.splits.own_files import SplitTable
from shared.splits.parts import part_of, split_column, train_and_val
from shared.video.sampling import clip_key
from train.data.augment import Statistics

if TYPE_CHECKING:
    import pandas as pd

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipTable:
    """The clips of a data set, sorted by clip_id; N entries in each field."""

    clip_id: tuple[str, ...]
    class_name: tuple[str, ...]
    label: Integers
    source: tuple[str, ...]
    shard: tuple[str, ...]
    row: Integers
    """The clip's place in its shard."""
    statistics: Statistics


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Places of clips in a ClipTable."""

    training: Integers
    """Without the validation part."""
    validation: Integers
    """The split's ``val`` rows; of a split without, those set aside by source."""
    test: Integers


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """What one epoch shows, M entries in each field."""

    clip: Integers
    """Place of the clip in the table; of a synthetic one, that of its anchor."""
    neighbor: Integers
    """Place of a synthetic clip's neighbour; -1 for a stored clip."""
    lam: npt.NDArray[np.float64]
    """Share of the neighbour."""
    label: Integers
    key: npt.NDArray[np.uint64]
    """For TSN sampling; different for each repetition of a clip."""

    def __len__(self) -> int:
        return len(self.clip)

    @property
    def synthetic(self) -> npt.NDArray[np.bool_]:
        """bool (M,): interpolated between two clips."""
        synthetic: npt.NDArray[np.bool_] = self.neighbor >= 0
        return synthetic


def make_table(frame: pd.DataFrame) -> ClipTable:
    """The table of a manifest frame (``shared.manifests.files.read_manifests``) with CLIP_COLUMNS, in its order."""
    return ClipTable(
        clip_id=tuple(frame["clip_id"]),
        class_name=_shared_texts(frame["class_name"]),
        label=frame["label"].to_numpy(np.int64),
        source=_shared_texts(frame["source"]),
        shard=_shared_texts(frame["shard"]),
        row=frame["row"].to_numpy(np.int64),
        statistics=Statistics(
            brightness=frame["brightness"].to_numpy(np.float64),
            contrast=frame["contrast"].to_numpy(np.float64),
            blur=frame["blur"].to_numpy(np.float64),
            colorfulness=frame["colorfulness"].to_numpy(np.float64),
        ),
    )


def _shared_texts(column: Iterable[str]) -> tuple[str, ...]:
    """The texts of a column, equal ones as one object: a tenth of the memory where there are few."""
    known: dict[str, str] = {}
    return tuple(known.setdefault(text, text) for text in column)


def shard_numbers(table: ClipTable) -> Integers:
    """The number of each clip's shard among the names of all of them, sorted: int64 (N,)."""
    numbers = {name: number for number, name in enumerate(sorted(set(table.shard)))}
    return np.fromiter((numbers[name] for name in table.shard), dtype=np.int64, count=len(table.shard))


def choose_rows(frame: pd.DataFrame, *, split: str, val_fraction: float) -> Rows:
    """Training, validation and test rows of a split. ``all`` trains on every clip and tests none.

    Raises DataError where the split has no training rows.
    """
    training, validation = train_and_val(frame, split=split, val_fraction=val_fraction)
    test = frame[:0] if split == "all" else part_of(frame, split=split, part="test")
    if training.empty:
        raise DataError(
            f"split {split} has no training clips here; use another --split, give splits with "
            "`hmdb-prep merge --splits PATH`, or take --split all for a sanity check"
        )
    places = [part.index.to_numpy(np.int64) for part in (training, validation, test)]
    return Rows(training=places[0], validation=places[1], test=places[2])


def table_of_split(frame: pd.DataFrame, *, split: str) -> SplitTable | None:
    """The part of every clip in a split, as these manifests have it. None for ``all``, which is no column of theirs."""
    if split == "all":
        return None
    column = split_column(split)
    parts = {clip_id: (part,) for clip_id, part in zip(frame["clip_id"], frame[column], strict=True)}
    return SplitTable(key="clip_id", columns=(column,), parts=parts)


def names_sha256(clip_ids: Iterable[str]) -> str:
    """SHA-256, in hexadecimal, of the names, sorted, a line each."""
    return hashlib.sha256("".join(f"{clip_id}\n" for clip_id in sorted(clip_ids)).encode()).hexdigest()


def real_samples(table: ClipTable, rows: Integers) -> Samples:
    """Every training clip once."""
    return Samples(
        clip=rows.astype(np.int64),
        neighbor=np.full(len(rows), -1, dtype=np.int64),
        lam=np.zeros(len(rows)),
        label=table.label[rows],
        key=np.array([clip_key(table.clip_id[row]) for row in rows.tolist()], dtype=np.uint64),
    )


def planned_samples(table: ClipTable, rows: Sequence[PlanRow]) -> Samples:
    """The real and synthetic rows of a plan, repetitions included, sorted: the order of the file does not matter."""
    return _samples(table, sorted(rows, key=lambda row: (row.clip_id, row.neighbor_id, row.lam)))


def _samples(table: ClipTable, rows: Sequence[PlanRow]) -> Samples:
    index = {clip_id: position for position, clip_id in enumerate(table.clip_id)}
    clip = np.array([index[row.clip_id] for row in rows], dtype=np.int64)
    return Samples(
        clip=clip,
        neighbor=np.array([index[row.neighbor_id] if row.neighbor_id else -1 for row in rows], dtype=np.int64),
        lam=np.array([row.lam for row in rows], dtype=np.float64),
        label=table.label[clip],
        key=_sampling_keys(rows),
    )


def _sampling_keys(rows: Sequence[PlanRow]) -> npt.NDArray[np.uint64]:
    """A clip's own key; repetitions and synthetic clips have other keys, so that they show other frames."""
    seen: Counter[str] = Counter()
    keys = []
    for row in rows:
        name = f"{row.clip_id}+{row.neighbor_id}" if row.neighbor_id else row.clip_id
        seen[name] += 1
        keys.append(clip_key(name if seen[name] == 1 else f"{name}#{seen[name]}"))
    return np.array(keys, dtype=np.uint64)


def sample_statistics(table: ClipTable, samples: Samples, chosen: Integers) -> Statistics:
    """The statistics of some samples; of a synthetic one, those of its two clips in their shares."""
    first, second = samples.clip[chosen], np.maximum(samples.neighbor[chosen], 0)
    lam = samples.lam[chosen]

    def blended(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        result: npt.NDArray[np.float64] = (1 - lam) * values[first] + lam * values[second]
        return result

    measured = table.statistics
    return Statistics(
        brightness=blended(measured.brightness),
        contrast=blended(measured.contrast),
        blur=blended(measured.blur),
        colorfulness=blended(measured.colorfulness),
    )
