"""The rows of a balancing plan: which clips of each class are repeated, joined or dropped. Reads and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared.errors import UsageError
from shared.manifests.balancing_plans import PlanRow

Strategy = Literal["smote", "oversample", "undersample", "none"]
STRATEGIES: tuple[Strategy, ...] = ("smote", "oversample", "undersample", "none")
TARGETS = ("median", "mean", "max")
_MAX_TARGET = 1_000_000  # more is a slip of the hand that would fill the memory

_OUTSIDER = -1  # label of a row that belongs to no class: imbalanced-learn asks for two classes at least

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingClips:
    """The N training clips of a split, sorted by clip_id. labels: int64 (N,); sources: texts (N,)."""

    clip_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    labels: IntArray
    sources: npt.NDArray[np.str_]

    @property
    def counts(self) -> dict[int, int]:
        """Clips of each class that has any, by label."""
        return dict(sorted(Counter(self.labels.tolist()).items()))


def target_count(target: str, counts: Sequence[int]) -> int:
    """The number of clips that ``target`` (median, mean, max or a number) asks for, rounded down.

    counts: clips of the classes that have any. Raises UsageError where the target is neither.
    """
    if target == "max":
        return max(counts)
    if target in ("median", "mean"):
        return int(np.median(counts) if target == "median" else sum(counts) // len(counts))
    if not target.isdecimal() or len(target) > len(str(_MAX_TARGET)) or not 1 <= int(target) <= _MAX_TARGET:
        raise UsageError(
            f"--target is {target}; it must be {', '.join(TARGETS)} or a number of clips from 1 to {_MAX_TARGET}"
        )
    return int(target)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What brings each class to the target: by label, how many rows to repeat, to synthesise, and to keep."""

    repeat: dict[int, int]
    synthesize: dict[int, int]
    keep: dict[int, int]


def plan_changes(counts: dict[int, int], *, strategy: Strategy, target: int) -> Changes:
    """Which classes change and by how many rows. A class of one clip has no neighbour: smote repeats it."""
    short = {label: target - count for label, count in counts.items() if count < target}
    long = {label: target for label, count in counts.items() if count > target}
    repeat: dict[int, int] = {}
    synthesize: dict[int, int] = {}
    if strategy == "smote":
        synthesize = {label: missing for label, missing in short.items() if counts[label] > 1}
        repeat = {label: missing for label, missing in short.items() if counts[label] == 1}
    if strategy == "oversample":
        repeat = short
    return Changes(repeat=repeat, synthesize=synthesize, keep=long if strategy in ("smote", "undersample") else {})


def make_rows(
    clips: TrainingClips,
    changes: Changes,
    *,
    features: FloatArray | None,
    k: int,
    seed: int,
    advance: Callable[[int], None] = lambda count: None,
) -> list[PlanRow]:
    """The rows of the plan. features: float64 (N, D), needed where clips are synthesised; advance: of clips searched.

    Each of the three samplers draws from ``numpy.random.RandomState(seed)`` of its own.
    """
    kept = _draw_kept(clips.labels, changes.keep, seed=seed)
    rows = [_row(clips, place, kept=bool(kept[place])) for place in range(len(clips.clip_ids))]
    rows += [_row(clips, place, kept=True) for place in _draw_repeated(clips.labels, changes.repeat, seed=seed)]
    if changes.synthesize:
        if features is None:
            raise ValueError("synthetic clips need features")
        rows += _synthetic_rows(clips, features, changes.synthesize, k=k, seed=seed, advance=advance)
    return rows


def _row(clips: TrainingClips, place: int, *, kept: bool) -> PlanRow:
    return PlanRow(
        kind="real" if kept else "dropped",
        class_name=clips.class_names[place],
        label=int(clips.labels[place]),
        clip_id=clips.clip_ids[place],
    )


def _synthetic_rows(
    clips: TrainingClips,
    features: FloatArray,
    num_synthetic: dict[int, int],
    *,
    k: int,
    seed: int,
    advance: Callable[[int], None],
) -> list[PlanRow]:
    from preprocess.balance.smote import draw_synthetic

    samples = draw_synthetic(
        features, clips.labels, clips.sources, num_synthetic=num_synthetic, k=k, seed=seed, advance=advance
    )
    return [
        PlanRow(
            kind="synthetic",
            class_name=clips.class_names[anchor],
            label=int(clips.labels[anchor]),
            clip_id=clips.clip_ids[anchor],
            neighbor_id=clips.clip_ids[neighbor],
            lam=lam,
        )
        for anchor, neighbor, lam in zip(
            samples.anchor.tolist(), samples.neighbor.tolist(), samples.lam.tolist(), strict=True
        )
    ]


def _draw_kept(labels: IntArray, keep: dict[int, int], *, seed: int) -> npt.NDArray[np.bool_]:
    """Which clips stay, bool (N,), when the classes of ``keep`` are cut: by imblearn's RandomUnderSampler."""
    kept = np.ones(len(labels), dtype=np.bool_)
    if not keep:
        return kept
    from imblearn.under_sampling import RandomUnderSampler

    sampler = RandomUnderSampler(sampling_strategy=keep, random_state=np.random.RandomState(seed))
    sampler.fit_resample(*_numbered(labels))
    kept[:] = False
    kept[[place for place in sampler.sample_indices_ if place < len(labels)]] = True
    return kept


def _draw_repeated(labels: IntArray, repeat: dict[int, int], *, seed: int) -> list[int]:
    """The clips that stand once more, a clip once for each time: by imblearn's RandomOverSampler."""
    if not repeat:
        return []
    from imblearn.over_sampling import RandomOverSampler

    totals = {label: int((labels == label).sum()) + count for label, count in repeat.items()}
    sampler = RandomOverSampler(sampling_strategy=totals, random_state=np.random.RandomState(seed))
    sampler.fit_resample(*_numbered(labels))
    return [int(place) for place in sampler.sample_indices_[len(labels) + 1 :]]


def _numbered(labels: IntArray) -> tuple[npt.NDArray[np.int64], IntArray]:
    """Row numbers (N + 1, 1) for a sampler, and labels (N + 1,), the outsider last."""
    return np.arange(len(labels) + 1)[:, None], np.append(labels, _OUTSIDER)


def describe_changes(clips: TrainingClips, changes: Changes, *, k: int) -> list[str]:
    """What a reader of the plan should know besides the counts: repetition, neighbours of one source, k that shrank."""
    from preprocess.balance.smote import num_neighbors

    names = dict(zip(clips.labels.tolist(), clips.class_names, strict=True))
    sources = {label: clips.sources[clips.labels == label] for label in changes.synthesize}
    single = [names[label] for label, of_class in sources.items() if len(set(of_class.tolist())) == 1]
    shrunk: dict[int, list[str]] = {}
    for label, of_class in sources.items():
        shrunk.setdefault(num_neighbors(of_class, k=k), []).append(names[label])
    notes = [f"k shrinks from {k} to {fewer} in {', '.join(shrunk[fewer])}" for fewer in sorted(shrunk) if fewer < k]
    if single:
        notes.append(f"one source only, neighbours are of that source: {', '.join(single)}")
    alone = [names[label] for label in changes.repeat if clips.counts[label] == 1]
    if alone:
        notes.append(f"one clip only, which is repeated: {', '.join(alone)}")
    return notes
