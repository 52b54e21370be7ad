"""`hmdb-prep balance`: reads the manifests, makes the balancing plan of one split, says and writes what it is."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from preprocess.balance.rows import (
    STRATEGIES,
    Changes,
    FloatArray,
    Strategy,
    TrainingClips,
    describe_changes,
    make_rows,
    plan_changes,
    target_count,
)
from shared.errors import DataError, UsageError
from shared.manifests.balancing_plans import Plan, PlanInfo, PlanRow, imbalance_ratio, plan_path, read_plan, write_plan
from shared.manifests.files import Dataset, read_dataset, read_manifests
from shared.shards.data_sets import look_at, what_is_wrong
from shared.splits.parts import part_of, train_and_val
from shared.terminal.console import counted, print_table, progress, say

if TYPE_CHECKING:
    import pandas as pd

_LIBRARIES = ("imbalanced-learn", "scikit-learn", "numpy", "scipy")
_MAX_SEED = 2**32 - 1  # of numpy.random.RandomState
_MAX_VAL_FRACTION = 0.5
_DESCRIPTORS = "descriptors"


@dataclass(frozen=True, kw_only=True)
class BalanceSettings:
    """What `hmdb-prep balance` was asked for."""

    manifests: Path
    shards: Path
    split: str = "1"  # 1, 2, 3 or full
    val_fraction: float = 0.1  # share of the training rows that `lsvit-train run` validates on
    strategy: str = "smote"
    target: str = "median"  # median, mean, max or a number of clips
    k: int = 5  # neighbours that SMOTE draws from
    seed: int = 0
    features: Path | None = None  # an .npz file, None for the descriptors of the stored frames


def run_balance(settings: BalanceSettings) -> Plan:
    """Make the plan, print the counts before and after, write CSV, JSON and picture; returns the plan.

    Raises UsageError for a setting outside its range, DataError where manifests, shards or features are absent, damaged
    or do not fit together, or no clip of the split is for training.
    """
    from preprocess.balance.picture import draw_counts

    path = plan_path(settings.manifests, settings.split)
    strategy = _check(settings)
    dataset = read_dataset(settings.manifests)
    frame = read_manifests(settings.manifests)
    everything = part_of(frame, split=settings.split, part="train")
    if everything.empty:
        raise DataError(f"split {settings.split} has no training clips in {settings.manifests}; name another --split")
    num_val = len(part_of(frame, split=settings.split, part="val"))
    if num_val:
        settings = dataclasses.replace(settings, val_fraction=0.0)  # nothing more is set aside
    training, _ = train_and_val(frame, split=settings.split, val_fraction=settings.val_fraction)
    clips = _training_clips(training)
    target = target_count(settings.target, list(clips.counts.values()))
    changes = plan_changes(clips.counts, strategy=strategy, target=target)
    if not changes.synthesize or settings.features is not None:
        _say_whose_shards(dataset, settings)
    features = _features(training, dataset, settings) if changes.synthesize else None
    rows = _make_rows(clips, changes, features, settings)
    notes = _notes(dataset, clips, changes, everything=everything, num_val=num_val, settings=settings)
    info = _describe(dataset, clips, rows, notes, settings=settings, target=target)
    write_plan(path, rows, info)
    remark = draw_counts(path.with_suffix(".png"), rows, info)
    _print(info, rows, changes)
    if remark:
        say(remark)
    say(f"plan of {_summary(rows)} written to {path} (with {path.stem}.json and {path.stem}.png beside it)")
    return read_plan(path)


def _check(settings: BalanceSettings) -> Strategy:
    if settings.k < 1:
        raise UsageError(f"--k is {settings.k}; it must be at least 1")
    if not 0 <= settings.val_fraction <= _MAX_VAL_FRACTION:
        raise UsageError(f"--val-fraction is {settings.val_fraction}; it must be from 0 to {_MAX_VAL_FRACTION}")
    if not 0 <= settings.seed <= _MAX_SEED:
        raise UsageError(f"--seed is {settings.seed}; it must be from 0 to {_MAX_SEED}")
    target_count(settings.target, [1])
    for strategy in STRATEGIES:
        if settings.strategy == strategy:
            return strategy
    raise UsageError(f"--strategy is {settings.strategy}; it must be one of {', '.join(STRATEGIES)}")


def _training_clips(training: pd.DataFrame) -> TrainingClips:
    return TrainingClips(
        clip_ids=tuple(training["clip_id"].tolist()),
        class_names=tuple(training["class_name"].tolist()),
        labels=training["label"].to_numpy(dtype=np.int64),
        sources=np.array(training["source"].tolist(), dtype=np.str_),
    )


def _features(training: pd.DataFrame, dataset: Dataset, settings: BalanceSettings) -> FloatArray:
    from preprocess.balance.descriptors import descriptor_features, read_features

    if settings.features is not None:
        return read_features(settings.features, training["clip_id"].tolist())
    with progress("describing clips", len(training)) as advance:
        return descriptor_features(
            training,
            settings.shards,
            dataset_id=dataset.dataset_id,
            named=[entry.file for entry in dataset.shards],
            advance=advance,
        )


def _say_whose_shards(dataset: Dataset, settings: BalanceSettings) -> None:
    """Say where the shards are of another data set, of which no picture was needed: the plan is not for them."""
    named = [entry.file for entry in dataset.shards]
    if look_at(settings.shards, named, dataset_id=dataset.dataset_id).foreign:
        say(f"note: {what_is_wrong(settings.shards, named, dataset_id=dataset.dataset_id)}")


def _make_rows(
    clips: TrainingClips, changes: Changes, features: FloatArray | None, settings: BalanceSettings
) -> list[PlanRow]:
    total = sum(clips.counts[label] for label in changes.synthesize)
    with progress("finding neighbours", total) as advance:
        return make_rows(clips, changes, features=features, k=settings.k, seed=settings.seed, advance=advance)


def _notes(
    dataset: Dataset,
    clips: TrainingClips,
    changes: Changes,
    *,
    everything: pd.DataFrame,
    num_val: int,
    settings: BalanceSettings,
) -> tuple[str, ...]:
    """What to say besides the counts. everything: the split's training rows, those set aside for validation among them.

    num_val: rows of part ``val``, in whose place nothing is set aside.
    """
    notes = describe_changes(clips, changes, k=settings.k)
    if num_val:
        notes.append(
            f"split {settings.split} has {counted(num_val, 'val clip')} of its own, so --val-fraction sets none aside"
        )
    num_held_out = len(everything) - len(clips.clip_ids)
    if num_held_out:
        verb = "is" if num_held_out == 1 else "are"
        notes.append(
            f"{num_held_out} of {counted(len(everything), 'training clip')} {verb} left to validation (--val-fraction "
            f"{settings.val_fraction:g}, as `lsvit-train run` has it)"
        )
        whole = imbalance_ratio(Counter(everything["class_name"]))
        ratio = imbalance_ratio(Counter(clips.class_names))
        if whole == 1 < ratio:
            notes.append(
                f"split {settings.split} as a whole is balanced (ratio 1.00), what remains of it is not ({ratio:.2f}); "
                "with --val-fraction 0, here and for the run, there is nothing to do"
            )
    empty = [name for name in dataset.class_names if name not in clips.class_names]
    if empty:
        notes.append(f"no training clips at all: {', '.join(empty)}")
    return tuple(notes)


def _describe(
    dataset: Dataset,
    clips: TrainingClips,
    rows: Sequence[PlanRow],
    notes: tuple[str, ...],
    *,
    settings: BalanceSettings,
    target: int,
) -> PlanInfo:
    before, after = Counter(clips.class_names), Counter(row.class_name for row in rows if row.kind != "dropped")
    counts_before = {name: before[name] for name in dataset.class_names}
    counts_after = {name: after[name] for name in dataset.class_names}
    features, checksum = _features_used(settings) if any(row.kind == "synthetic" for row in rows) else ("", "")
    return PlanInfo(
        dataset_id=dataset.dataset_id,
        split=settings.split,
        val_fraction=settings.val_fraction,
        strategy=settings.strategy,
        target=settings.target,
        target_count=target,
        k=settings.k,
        seed=settings.seed,
        features=features,
        features_sha256=checksum,
        library_versions={name: importlib.metadata.version(name) for name in _LIBRARIES},
        counts_before=counts_before,
        counts_after=counts_after,
        imbalance_ratio_before=imbalance_ratio(counts_before),
        imbalance_ratio_after=imbalance_ratio(counts_after),
        notes=notes,
    )


def _features_used(settings: BalanceSettings) -> tuple[str, str]:
    """Name and SHA-256 of the features: of the file given, else of none."""
    if settings.features is None:
        return _DESCRIPTORS, ""
    return settings.features.name, hashlib.sha256(settings.features.read_bytes()).hexdigest()


def _print(info: PlanInfo, rows: Sequence[PlanRow], changes: Changes) -> None:
    tally = Counter((row.class_name, row.kind) for row in rows)
    distinct = Counter(row.class_name for row in {row for row in rows if row.kind == "real"})
    table = [
        (
            name,
            str(before),
            str(info.counts_after[name]),
            str(distinct[name]),
            str(tally[name, "real"] - distinct[name]),
            str(tally[name, "synthetic"]),
            str(tally[name, "dropped"]),
        )
        for name, before in sorted(info.counts_before.items(), key=lambda item: (-item[1], item[0]))
    ]
    title = f"Training clips of split {info.split}, strategy {info.strategy}"
    if info.strategy != "none":
        title += f", target {info.target_count} ({info.target})" if info.target.isalpha() else f", target {info.target}"
    print_table(title, ("class", "before", "after", "kept", "repeated", "synthetic", "dropped"), table)
    say(f"imbalance ratio {info.imbalance_ratio_before:.2f} before, {info.imbalance_ratio_after:.2f} after")
    for note in info.notes:
        say(note)
    if not any(dataclasses.astuple(changes)):
        say(_nothing_to_do(info))


def _nothing_to_do(info: PlanInfo) -> str:
    if info.imbalance_ratio_before == 1 and info.strategy != "none":
        return "ratio 1.00, nothing to do: every training clip stands once"
    if info.strategy == "none":
        return "strategy none: every training clip stands once"
    clips = counted(info.target_count, "clip")
    return f"no class is on the side of {clips} that {info.strategy} changes: nothing to do"


def _summary(rows: Sequence[PlanRow]) -> str:
    tally = Counter(row.kind for row in rows)
    return f"{tally['real']} real, {tally['synthetic']} synthetic and {counted(tally['dropped'], 'dropped clip')}"
