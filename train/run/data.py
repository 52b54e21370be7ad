"""What a run learns from: data set, rows, plan and the choices that depend on them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from shared.errors import UsageError
from shared.manifests.files import ColourStatistics, Dataset, read_dataset, read_manifests
from shared.shards.format import ShardLayout
from shared.shards.places import RemoteShards
from shared.splits.own_files import SplitTable
from shared.splits.parts import has_val_rows, split_column
from shared.splits.warnings import warnings_on_splits
from shared.terminal.console import counted
from shared.video.resizing import Fit, FrameSize
from train.data.balancing import TrainingPlan, find_plan, read_training_plan
from train.data.columns import training_columns
from train.data.loader.reader import ClipReader
from train.data.samples import (
    ClipTable,
    Rows,
    Samples,
    choose_rows,
    make_table,
    names_sha256,
    planned_samples,
    real_samples,
    table_of_split,
)
from train.model.config import PRESETS
from train.model.weights.families import Weights
from train.model.weights.trained_on import TrainedOn
from train.run.config.fields import RunConfig, class_strengths, place_of_shards
from train.run.seen import NOTHING_KNOWN, clips_trained_on, seen_test_clips

if TYPE_CHECKING:
    import pandas as pd

LARGEST_DEFAULT_IMAGE = 224


@dataclass(frozen=True, kw_only=True, eq=False)
class RunData:
    """The rows of one split and the open shards."""

    dataset: Dataset
    table: ClipTable
    split: SplitTable | None
    """The part of every clip in the run's split; None for ``all``."""
    has_val_rows: bool
    """The split names its validation clips, so that --val-fraction sets none aside."""
    rows: Rows
    samples: Samples
    reader: ClipReader
    size: FrameSize
    """Of the stored frames: one for all clips."""
    rgb: ColourStatistics
    """Mean and standard deviation of the pixels of the split's training clips."""
    plan_sha256: str
    """Checksum of the balancing plan, empty without one."""
    longest_seconds: float
    """How long the longest training clip is shown; 0 where no video says."""
    trained_on: TrainedOn
    """Of the weights when the run is over: its training clips, and those of what it begins with."""
    notes: tuple[str, ...]
    """Sentences for the user."""

    @property
    def validation_sha256(self) -> str:
        """Checksum of the names of the validation clips."""
        return names_sha256(self.table.clip_id[row] for row in self.rows.validation)


def open_data(config: RunConfig, weights: Weights | None = None) -> tuple[RunConfig, RunData]:
    """Read manifests and shards of the one split that ``config`` names; the config comes back with its choices made.

    weights: what the run begins with, if anything.
    """
    manifests = Path(config.manifests)
    dataset = read_dataset(manifests)
    _check_classes(config, dataset)
    frame = read_manifests(manifests, columns=training_columns(config.split))
    table = make_table(frame)
    has_own = has_val_rows(frame, split=config.split)
    rows = choose_rows(frame, split=config.split, val_fraction=config.val_fraction)
    val_fraction = 0.0 if has_own else config.val_fraction
    samples, plan_sha256, notes = _choose_samples(config, dataset, table, rows, val_fraction=val_fraction)
    reader = ClipReader(place_of_shards(config), table, dataset_id=dataset.dataset_id)
    config, more_notes = settle(config, reader.layout)
    before = TrainedOn() if weights is None else weights.trained_on
    if config.val_fraction and not len(rows.validation):
        notes = [*notes, "no source can be set aside for validation: best will be the last state"]
    data = RunData(
        dataset=dataset,
        table=table,
        split=table_of_split(frame, split=config.split),
        has_val_rows=has_own,
        rows=rows,
        samples=samples,
        reader=reader,
        size=FrameSize(height=reader.layout.height, width=reader.layout.width, fit=cast(Fit, dataset.fit)),
        rgb=dataset.rgb[split_column("full" if config.split == "all" else config.split)],
        plan_sha256=plan_sha256,
        longest_seconds=max(frame["duration_seconds"].iloc[rows.training].tolist(), default=0.0),
        trained_on=before.also(dataset.dataset_id, clips_trained_on(frame, split=config.split)),
        notes=(
            *_labels(config, dataset, rows),
            *_on_init(before, config, dataset, frame),
            *_warnings_on(config, dataset, frame),
            *notes,
            *more_notes,
            *_on_copies(config, dataset),
        ),
    )
    return config, data


def settle(config: RunConfig, layout: ShardLayout) -> tuple[RunConfig, list[str]]:
    """Choose image size and sampling where they are left open. Raises UsageError for tsn where K is 1."""
    notes = []
    if not config.img_size:
        patch = config.patch_size or PRESETS[config.preset].patch_size
        size = min(LARGEST_DEFAULT_IMAGE, layout.height, layout.width) // patch * patch
        if not size:
            raise UsageError(
                f"the stored frames are {layout.height}x{layout.width}, smaller than a patch of {patch}; "
                "choose --img-size and --patch-size"
            )
        config = dataclasses.replace(config, img_size=size)
        notes.append(f"image size {size} (--img-size)")
    if layout.frames_per_segment == 1:
        if config.sampling == "tsn":
            raise UsageError(
                "--sampling is tsn, but the shards hold one frame a segment (K=1): there is nothing to choose. "
                "Extract with --frames-per-segment 3, or leave --sampling out"
            )
        if config.sampling == "auto":
            notes.append("sampling: the shards hold one frame a segment (K=1), there is nothing to choose")
    if config.sampling == "auto":
        config = dataclasses.replace(config, sampling="tsn" if layout.frames_per_segment > 1 else "middle")
    return config, notes


def _check_classes(config: RunConfig, dataset: Dataset) -> None:
    for name in class_strengths(config):
        if name not in dataset.class_names:
            raise UsageError(
                f"--aug-class names {name!r}, which is no class here; there are {', '.join(dataset.class_names)}"
            )


def _choose_samples(
    config: RunConfig, dataset: Dataset, table: ClipTable, rows: Rows, *, val_fraction: float
) -> tuple[Samples, str, list[str]]:
    """The samples of an epoch, the plan's checksum (empty without one) and what to say about it.

    val_fraction: what is set aside, 0 where the split names its validation clips.
    """
    path, note = find_plan(
        config.plan, manifests=Path(config.manifests), split=config.split, dataset_id=dataset.dataset_id
    )
    if path is None:
        return real_samples(table, rows.training), "", [note]
    candidates = (*rows.training, *rows.validation) if val_fraction else rows.training  # of the split's train rows
    training = {table.clip_id[row]: (table.class_name[row], int(table.label[row])) for row in candidates}
    plan = read_training_plan(
        path,
        dataset_id=dataset.dataset_id,
        split=config.split,
        training=training,
        held_out=frozenset(table.clip_id[row] for row in rows.validation),
    )
    samples = planned_samples(table, plan.rows)
    warnings = _warnings(plan, split=config.split, val_fraction=val_fraction, num_rows=len(rows.training))
    return samples, plan.sha256, [note + _describe(plan), *warnings]


def _describe(plan: TrainingPlan) -> str:
    num_synthetic = sum(row.kind == "synthetic" for row in plan.rows)
    text = f" ({plan.strategy}): {counted(len(plan.rows), 'clip')} an epoch, {num_synthetic} of them synthetic"
    if plan.num_left_out:
        text += f"; {plan.num_left_out} left out, as they show validation clips"
    return text


def _warnings(plan: TrainingPlan, *, split: str, val_fraction: float, num_rows: int) -> list[str]:
    """What is odd about a plan that can be trained on. num_rows: clips to train on, without the validation part."""
    remedy = f"`hmdb-prep balance --split {split} --val-fraction {val_fraction:g}` makes"
    if plan.val_fraction != val_fraction:
        is_uneven = len(set(Counter(row.class_name for row in plan.rows).values())) > 1
        wrong = ["classes are uneven"] if is_uneven and (plan.num_left_out or plan.num_unmentioned) else []
        if plan.num_unmentioned:
            wrong.append(
                f"{plan.num_unmentioned} of the {counted(num_rows, 'training clip')} are not in it and not trained on"
            )
        return (
            [
                f"the plan was made for --val-fraction {plan.val_fraction:g} and this run has {val_fraction:g}: "
                f"{', and '.join(wrong)}; {remedy} one that fits"
            ]
            if wrong
            else []
        )
    if plan.num_unmentioned:
        return [
            f"the plan does not mention {plan.num_unmentioned} of the {counted(num_rows, 'training clip')} of split "
            f"{split}: it is partial or damaged, and what it leaves out is not trained on; {remedy} a whole one"
        ]
    return []


def _warnings_on(config: RunConfig, dataset: Dataset, frame: pd.DataFrame) -> list[str]:
    """What cannot be right about the sources, and about the split that the run trains on."""
    columns = [] if config.split == "all" else [split_column(config.split)]
    sentences = warnings_on_splits(
        frame,
        source_pattern=dataset.source_pattern,
        has_own_splits=bool(dataset.splits_sha256),
        columns=columns,
    )
    return [f"warning: {sentence}" for sentence in sentences]


def _on_copies(config: RunConfig, dataset: Dataset) -> list[str]:
    """Where copies of shards at an address go, and that they may be made again and again."""
    place = place_of_shards(config)
    if not isinstance(place, RemoteShards):
        return []
    notes = [f"shards are copied from {place} to {place.cache} when they are needed (--shard-cache)"]
    needed = sum(entry.num_bytes for entry in dataset.shards)
    if needed > place.cache_bytes and not config.shuffle_shards:
        notes.append(
            f"warning: the shards have {needed / 1e9:.3g} GB and the cache {place.cache_gb:.3g} GB: in random "
            "order nearly every clip has its shard copied again; give it room with --shard-cache-gb, or read shards in "
            "turn with --shuffle-shards 8"
        )
    return notes


def _on_init(before: TrainedOn, config: RunConfig, dataset: Dataset, frame: pd.DataFrame) -> list[str]:
    """That the run cannot be tested, where the weights that it begins with have seen its test clips, or may have."""
    seen = seen_test_clips(before, frame, split=config.split, dataset_id=dataset.dataset_id)
    if seen:
        return [f"warning: `evaluate` will refuse this run: {seen}"]
    return [] if before.is_known else [f"note: {config.init}: {NOTHING_KNOWN}"]


def _labels(config: RunConfig, dataset: Dataset, rows: Rows) -> list[str]:
    """What the numbers of this run are, in words."""
    labels = [
        f"split {config.split}: {counted(len(rows.training), 'clip')} to train on, {len(rows.validation)} for "
        f"validation, {len(rows.test)} for test, {counted(len(dataset.class_names), 'class')}"
    ]
    if config.split == "all":
        less = f" but those for validation ({len(rows.validation)})" if len(rows.validation) else ""
        labels.append(f"split all trains on every clip{less}: a sanity check, not a result")
    if dataset.synthetic:
        labels.append("the embedded synthetic data set: numbers say nothing about HMDB51")
    return labels
