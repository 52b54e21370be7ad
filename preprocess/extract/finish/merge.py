"""Rebuilds the manifests from the shards: after every extraction, after one divided into tasks, or to repair them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from preprocess.extract.engines.reading import ReadShards, read_in_threads
from preprocess.extract.extraction_plan import ExtractionPlan, PlannedShard, clip_facts
from preprocess.extract.facts import FactRules, with_facts
from preprocess.extract.finish.stored_rows import contradictions, stored_rows
from preprocess.extract.ownership import check_owner
from preprocess.extract.rules import AS_KEPT, AskedRules, keep_rules, remarks, rules_for, sha256_of_table
from preprocess.extract.state import is_finished, read_extraction_plan, read_outcome
from shared.errors import DataError
from shared.files import sha256_of
from shared.manifests.files import (
    CLIPS_FOLDER,
    QUARANTINE_FILE,
    SPLIT_COLUMNS,
    ClipRow,
    ColourStatistics,
    Dataset,
    QuarantineRow,
    ShardEntry,
    write_clip_manifests,
    write_dataset,
    write_quarantine,
)
from shared.manifests.notes import NoteRow, write_notes
from shared.shards.data_sets import short_id
from shared.shards.format import ShardLayout
from shared.shards.reader import ShardReader
from shared.terminal.console import say

_COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, kw_only=True)
class MergedShard:
    """What the manifests say of a finished shard. ``entry`` is None where every video is quarantined."""

    rows: tuple[ClipRow, ...]
    quarantined: tuple[QuarantineRow, ...]
    notes: tuple[NoteRow, ...]
    entry: ShardEntry | None


@dataclass(frozen=True, kw_only=True)
class ShardToMerge:
    """A finished shard and its place in the plan."""

    file: Path
    planned: PlannedShard
    layout: ShardLayout
    """That it must have."""
    rehash: bool
    sha256: str
    """What it is known to have, and it is not read whole then; or empty."""


def merge(
    shards: Path,
    manifests: Path,
    *,
    synthetic: bool,
    rehash: bool,
    asked: AskedRules | None = None,
    known: Mapping[str, str] = MappingProxyType({}),
    read: ReadShards = read_in_threads,
) -> Dataset:
    """Write all manifests from the folder ``shards``. rehash: read the shards whole, do not trust noted checksums.

    synthetic: the videos are known to be so; where the extraction noted it, it stays so. asked: other rules for sources
    and splits than those that are kept; they are kept from now on, and how they fit is said. known: SHA-256 of shards,
    by their names, that others have just read whole. read: what does the reading; the result does not depend on it.
    Raises DataError as ``ready_plan`` and ``read_shards`` do.
    """
    plan = ready_plan(shards, manifests)
    rules = rules_for(asked or AS_KEPT, shards, plan)
    for sentence in remarks(plan.planned_videos, rules, asked=asked, shards=shards) if asked else ():
        say(sentence)
    merged = read_shards(shards, plan, plan.shards, rehash=rehash, known=known, read=read)
    kept = keep_rules(shards, plan, rules)
    return write_all(manifests, kept, merged, synthetic=synthetic or plan.synthetic, rules=rules)


def ready_plan(shards: Path, manifests: Path) -> ExtractionPlan:
    """The plan of a finished extraction, whose manifests may go to this folder.

    Raises DataError where there is no extraction, shards are unfinished or the manifests are another data set's.
    """
    plan = read_extraction_plan(shards)
    if plan is None:
        raise DataError(f"no extraction in {shards}; run `hmdb-prep extract`, or name the folder with --shards")
    check_owner(manifests, shards, dataset_id=plan.dataset_id)
    unfinished = [shard for shard in plan.shards if not is_finished(shards, shard)]
    if unfinished:
        names = ", ".join(shard.name for shard in unfinished[:3])
        raise DataError(
            f"{len(unfinished)} of {len(plan.shards)} shards are not there yet, {names} first; "
            "run `hmdb-prep extract` to continue (or the tasks that are missing)"
        )
    return plan


def read_shards(
    folder: Path,
    plan: ExtractionPlan,
    shards: Sequence[PlannedShard],
    *,
    rehash: bool,
    known: Mapping[str, str] = MappingProxyType({}),
    read: ReadShards = read_in_threads,
) -> list[MergedShard]:
    """What the manifests say of some shards; rehash, known and read as for ``merge``.

    Raises DataError where a shard is of another extraction, contradicts the manifest rows that it holds or, with
    rehash, has frames that do not match their checksum.
    """
    items = [
        ShardToMerge(
            file=folder / shard.name,
            planned=shard,
            layout=plan.layout(shard),
            rehash=rehash,
            sha256=known.get(shard.name, ""),
        )
        for shard in shards
    ]
    return read(merge_shard, items, advance=lambda item: None) if rehash else [merge_shard(item) for item in items]


def write_all(
    manifests: Path, plan: ExtractionPlan, merged: Sequence[MergedShard], *, synthetic: bool, rules: FactRules
) -> Dataset:
    """Write the class manifests, quarantine.csv, notes.csv and, last, dataset.json."""
    facts = clip_facts(plan, rules)
    rows = [with_facts(row, facts) for shard in merged for row in shard.rows]
    quarantined = [*plan.rejected, *(row for shard in merged for row in shard.quarantined)]
    entries = tuple(shard.entry for shard in merged if shard.entry is not None)
    dataset = summarise(plan, rows, num_quarantined=len(quarantined), shards=entries, synthetic=synthetic)
    dataset = dataclasses.replace(dataset, source_pattern=rules.source_pattern, splits_sha256=sha256_of_table(rules))
    write_clip_manifests(manifests, rows)
    write_quarantine(manifests, quarantined)
    write_notes(manifests, [row for shard in merged for row in shard.notes])
    write_dataset(manifests, dataset)
    return dataset


def has_manifests(manifests: Path, dataset: Dataset) -> bool:
    """Whether the files that belong beside ``dataset.json`` are there; what they hold is not looked at."""
    names = [f"{CLIPS_FOLDER}/{name}.csv" for name, count in dataset.clips_per_class.items() if count]
    return all((manifests / name).is_file() for name in (*names, QUARANTINE_FILE))


def merge_shard(shard: ShardToMerge) -> MergedShard:
    """What the manifests say of one shard. Raises DataError as ``read_shards`` does."""
    file = shard.file
    outcome = read_outcome(file.parent, shard.planned)
    if outcome is None:
        raise DataError(f"the note on {file} is gone; run `hmdb-prep extract`, which makes what is missing")
    if not file.is_file():
        return MergedShard(rows=(), quarantined=outcome.quarantined, notes=(), entry=None)
    with ShardReader(file) as reader:
        layout = reader.layout
        if layout.dataset_id != shard.layout.dataset_id:
            raise DataError(_elsewhere(f"{file} is of another data set ({short_id(layout.dataset_id)})"))
        rows = stored_rows(reader)
        damaged = reader.damaged_clips() if shard.rehash and not shard.sha256 else []
        faults = [f"frames of {clip} do not match their crc32" for clip in damaged] + contradictions(reader, rows)
    without_clip = {row.path for row in outcome.quarantined}
    clip_ids = {video.clip_id for video in shard.planned.videos if video.path not in without_clip}
    if layout != shard.layout or {row.clip_id for row in rows} != clip_ids:
        raise DataError(_elsewhere(f"{file} does not hold the clips of its plan: it may be another shard, renamed"))
    if faults:
        raise DataError(f"{file}: {faults[0]}; delete it and run `hmdb-prep extract` again")
    entry = ShardEntry(
        file=file.name,
        num_clips=len(rows),
        num_bytes=file.stat().st_size,
        sha256=shard.sha256 or (sha256_of(file) if shard.rehash else outcome.sha256),
    )
    return MergedShard(rows=rows, quarantined=outcome.quarantined, notes=outcome.notes, entry=entry)


def _elsewhere(fault: str) -> str:
    return f"{fault}; move it to another folder and run `hmdb-prep extract`, which makes the one in its place"


def summarise(
    plan: ExtractionPlan,
    rows: Sequence[ClipRow],
    *,
    num_quarantined: int,
    shards: tuple[ShardEntry, ...],
    synthetic: bool,
) -> Dataset:
    """What dataset.json will say of these rows. The class list comes from the videos, not from what decoded."""
    parameters = dataclasses.asdict(plan.parameters)
    del parameters["shard_version"]  # the shards say it themselves
    class_names = tuple(sorted({video.class_name for video in plan.videos}))
    per_class = Counter(row.class_name for row in rows)
    return Dataset(
        dataset_id=plan.dataset_id,
        **parameters,
        synthetic=synthetic,
        class_names=class_names,
        num_videos=len(plan.videos),
        num_clips=len(rows),
        num_quarantined=num_quarantined,
        clips_per_class={name: per_class[name] for name in class_names},
        clips_per_split={
            column: dict(sorted(Counter(getattr(row, column) for row in rows).items())) for column in SPLIT_COLUMNS
        },
        rgb={
            column: _colour_statistics([row for row in rows if getattr(row, column) == "train"])
            for column in SPLIT_COLUMNS
        },
        shards=shards,
    )


def _colour_statistics(rows: Sequence[ClipRow]) -> ColourStatistics:
    """Pooled over the clips, each with the same weight: var = E[std² + mean²] - E[mean]². Zero without clips."""
    if not rows:
        return ColourStatistics(mean=(0.0, 0.0, 0.0), std=(0.0, 0.0, 0.0))
    means = np.array([[getattr(row, f"{colour}_mean") for colour in _COLOURS] for row in rows]) / 255
    stds = np.array([[getattr(row, f"{colour}_std") for colour in _COLOURS] for row in rows]) / 255
    mean = means.mean(axis=0)
    std = np.sqrt(np.maximum((stds**2 + means**2).mean(axis=0) - mean**2, 0))
    red, green, blue = (float(value) for value in mean)
    red_std, green_std, blue_std = (float(value) for value in std)
    return ColourStatistics(mean=(red, green, blue), std=(red_std, green_std, blue_std))
