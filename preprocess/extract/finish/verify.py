"""hmdb-prep verify: every shard and every manifest row against the checksums; each fault in one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from preprocess.extract.engines.reading import ReadShards, read_in_threads
from preprocess.extract.engines.tasks import ALL, Task
from preprocess.extract.extraction_plan import clip_facts
from preprocess.extract.facts import with_facts
from preprocess.extract.finish.stored_rows import contradictions, stored_rows
from preprocess.extract.rules import kept_rules, made_by
from preprocess.extract.state import read_extraction_plan
from shared.errors import DataError
from shared.files import sha256_of
from shared.manifests.files import (
    DATASET_FILE,
    MANIFEST_COLUMNS,
    ClipRow,
    Dataset,
    ShardEntry,
    read_dataset,
    read_manifests,
)
from shared.shards.data_sets import look_at, short_id, what_is_wrong
from shared.shards.format import SHARD_NAMES
from shared.shards.reader import ShardReader
from shared.terminal.console import counted, progress, say

Remedy = Literal["extract", "move", "replace", "delete", "merge", "said"]
_REMEDIES: dict[Remedy, str] = {
    "move": "move the shards that do not belong there to another folder",
    "delete": "delete the shards that are damaged",
    "extract": "run `hmdb-prep extract`, which makes the shards that are missing",
    "merge": "run `hmdb-prep merge`, which makes the manifests again",
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is not as it was extracted."""

    text: str
    """One line: the file and what is wrong with it."""
    remedy: Remedy
    """What mends it; ``said`` where the line says it itself, ``replace`` to move it and have its own made."""


@dataclass(frozen=True, kw_only=True)
class ShardToCheck:
    """A shard that dataset.json names."""

    file: Path
    entry: ShardEntry
    dataset_id: str
    """Of the manifests."""
    whole: bool
    """Whether its frames are read too and its faults are told."""


def remedies(faults: Sequence[Fault]) -> str:
    """What mends these faults, in the order in which it is to be done; empty where their lines say it."""
    needed = {fault.remedy for fault in faults}
    if "replace" in needed:
        needed.add("move")
    if needed & {"replace", "delete"}:
        needed.add("extract")
    return ", then ".join(text for remedy, text in _REMEDIES.items() if remedy in needed)


def run_verify(shards: Path, manifests: Path, *, task: Task, read: ReadShards) -> None:
    """Say each fault in a line, or that there are none. Raises DataError where there are some, and as ``verify``."""
    dataset = read_dataset(manifests)
    num_clips = sum(entry.num_clips for number, entry in enumerate(dataset.shards) if task.owns(number))
    with progress("verifying", num_clips) as advance:
        faults = verify(shards, manifests, advance=advance, task=task, read=read)
    for fault in faults:
        say(fault.text)
    if faults:
        way_out = remedies(faults) or "each line says what to do"
        raise DataError(f"{counted(len(faults), 'fault')} in {shards} and {manifests}; {way_out}")
    say(f"{counted(num_clips, 'clip')} verified in {shards}: no faults")


def verify(
    shards: Path,
    manifests: Path,
    *,
    advance: Callable[[int], None],
    task: Task = ALL,
    read: ReadShards = read_in_threads,
) -> list[Fault]:
    """Faults of a data set; none where all is as extracted. ``advance`` is told each own shard's clips.

    task: one of several, which together find what one finds, each fault once. Each reads its own shards whole; the
    first one looks at the manifests too, for which it opens all shards without reading their frames. read: what does
    the reading; the faults and their order are the same whatever it is.
    Raises DataError where dataset.json or the manifests cannot be read at all, and where all shards are missing or of
    another data set.
    """
    dataset = read_dataset(manifests)
    named = [entry.file for entry in dataset.shards]
    found = look_at(shards, named, dataset_id=dataset.dataset_id)
    if named and not found.own and (found.foreign or len(found.missing) == len(named)):
        raise DataError(what_is_wrong(shards, named, dataset_id=dataset.dataset_id))
    looked_at = [
        ShardToCheck(file=shards / entry.file, entry=entry, dataset_id=dataset.dataset_id, whole=task.owns(number))
        for number, entry in enumerate(dataset.shards)
        if task.is_first or task.owns(number)
    ]
    checked = read(check_shard, looked_at, advance=lambda item: advance(item.entry.num_clips if item.whole else 0))
    rows = {row.clip_id: row for shard_rows, _ in checked for row in shard_rows}
    faults = [fault for item, (_, told) in zip(looked_at, checked, strict=True) if item.whole for fault in told]
    if not task.is_first:
        return faults
    unlisted = [file for file in sorted(shards.glob(SHARD_NAMES)) if file.name not in named]
    faults += [_unlisted(file, found.foreign.get(file.name, "")) for file in unlisted]
    try:
        merged = _as_merged(rows, dataset, shards)
    except DataError as error:
        return [*faults, Fault(text=str(error), remedy="said")]
    if merged is None:
        text = f"{manifests / DATASET_FILE}: its splits or source pattern are not those that are kept in {shards}"
        return [*faults, Fault(text=text, remedy="merge")]
    by_own_rules = bool(dataset.source_pattern or dataset.splits_sha256)
    return faults + _check_manifests(
        read_manifests(manifests), merged if by_own_rules else rows, merged, dataset, manifests
    )


def _as_merged(rows: dict[str, ClipRow], dataset: Dataset, shards: Path) -> dict[str, ClipRow] | None:
    """The rows of shards with sources and splits as ``merge`` writes them; as they are where their plan is gone.

    None where the manifests were made by other rules than those that are kept beside the shards.
    """
    plan = read_extraction_plan(shards)
    if plan is None or plan.dataset_id != dataset.dataset_id:
        return rows
    rules = kept_rules(shards, plan)
    if not made_by(rules, dataset):
        return None
    facts = clip_facts(plan, rules)
    return {name: with_facts(row, facts) if name in facts.labels else row for name, row in rows.items()}


def _unlisted(file: Path, foreign_id: str) -> Fault:
    if foreign_id:
        return Fault(text=_foreign(file, foreign_id), remedy="move")
    return Fault(text=f"{file}: not listed in dataset.json", remedy="merge")


def _foreign(file: Path, dataset_id: str) -> str:
    return f"{file}: of another data set ({short_id(dataset_id)})"


def check_shard(shard: ShardToCheck) -> tuple[tuple[ClipRow, ...], list[Fault]]:
    """The manifest rows that a shard holds, and its faults."""
    file, entry = shard.file, shard.entry
    if not file.is_file():
        return (), [Fault(text=f"{file}: missing", remedy="extract")]
    size = file.stat().st_size
    other_size = f"{size} bytes, dataset.json says {entry.num_bytes}" if size != entry.num_bytes else ""
    try:
        with ShardReader(file) as reader:
            if reader.layout.dataset_id != shard.dataset_id:
                return (), [Fault(text=_foreign(file, reader.layout.dataset_id), remedy="replace")]
            rows = stored_rows(reader)
            faults = _check_frames(file, reader, rows) if shard.whole else []
    except DataError as error:
        return (), [Fault(text=f"{error} ({other_size})" if other_size else str(error), remedy="said")]
    if shard.whole and not faults and (other_size or sha256_of(file) != entry.sha256):
        # Its clips are whole, their numbers right and its rows agree: it is taken for one that was made again.
        faults = [Fault(text=f"{file}: {other_size or 'SHA-256 differs from that in dataset.json'}", remedy="merge")]
    return rows, faults


def _check_frames(file: Path, reader: ShardReader, rows: Sequence[ClipRow]) -> list[Fault]:
    """Faults inside a shard: frames against their checksums, the manifest rows that it holds against the rest."""
    if names := {row.shard for row in rows} - {file.name}:
        return [Fault(text=f"{file}: holds the clips of {min(names)}, it was renamed", remedy="replace")]
    # Always: the checksum in dataset.json is that of a damaged file if `merge` met it so.
    damaged = [f"frames of {clip} do not match their crc32" for clip in reader.damaged_clips()]
    return [Fault(text=f"{file}: {text}", remedy="delete") for text in [*damaged, *contradictions(reader, rows)]]


def _check_manifests(
    frame: pd.DataFrame, rows: dict[str, ClipRow], merged: dict[str, ClipRow], dataset: Dataset, manifests: Path
) -> list[Fault]:
    lines = []
    checkable = {entry.file for entry in dataset.shards} & {row.shard for row in rows.values()}
    for values in frame.itertuples(index=False):
        file = manifests / "clips" / f"{values.class_name}.csv"
        row = rows.get(str(values.clip_id))
        if row is None:
            if values.shard in checkable or values.shard not in {entry.file for entry in dataset.shards}:
                lines.append(f"{file}: {values.clip_id} is in no shard")
        else:
            lines += _changed_columns(file, row, merged[row.clip_id], values)
    missing = sorted(rows.keys() - set(frame["clip_id"]))
    lines += [f"{manifests / 'clips' / rows[clip_id].class_name}.csv: {clip_id} is missing" for clip_id in missing]
    return [Fault(text=line, remedy="merge") for line in lines]


def _changed_columns(file: Path, row: ClipRow, merged: ClipRow, values: Iterable[object]) -> list[str]:
    """Columns that are neither as ``merge`` writes them nor as ``row`` says, by which earlier versions went."""
    columns = zip(MANIFEST_COLUMNS, values, dataclasses.astuple(row), dataclasses.astuple(merged), strict=True)
    return [
        f"{file}: {row.clip_id}: {column} is {found}, {'the shard says' if right == stored else 'it should be'} {right}"
        for column, found, stored, right in columns
        if found not in (stored, right)
    ]
