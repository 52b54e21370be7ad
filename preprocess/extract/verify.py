"""hmdb-prep verify: every shard and every manifest row against the checksums; each fault in one line."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from shared.errors import DataError
from shared.files import sha256_of
from shared.manifests import (
    MANIFEST_COLUMNS,
    ClipRow,
    Dataset,
    ShardEntry,
    read_dataset,
    read_manifests,
    row_from_json,
)
from shared.shards.format import SHARD_NAMES
from shared.shards.reader import ShardReader


def verify(shards: Path, manifests: Path, *, advance: Callable[[int], None]) -> list[str]:
    """Faults of a data set, a line each; empty where all is as extracted. ``advance`` is told each shard's clips.

    Raises DataError where dataset.json or the manifests cannot be read at all.
    """
    dataset = read_dataset(manifests)
    faults: list[str] = []
    rows: dict[str, ClipRow] = {}
    # Checksums leave the interpreter to others while they are taken, so threads keep every core busy.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        checked = pool.map(lambda entry: _check_shard(shards / entry.file, entry, dataset), dataset.shards)
        for entry, (shard_rows, shard_faults) in zip(dataset.shards, checked, strict=True):
            rows.update((row.clip_id, row) for row in shard_rows)
            faults += shard_faults
            advance(entry.num_clips)
    listed = {entry.file for entry in dataset.shards}
    faults += [
        f"{file}: not listed in dataset.json" for file in sorted(shards.glob(SHARD_NAMES)) if file.name not in listed
    ]
    return faults + _check_manifests(read_manifests(manifests), rows, dataset, manifests)


def _check_shard(file: Path, entry: ShardEntry, dataset: Dataset) -> tuple[list[ClipRow], list[str]]:
    if not file.is_file():
        return [], [f"{file}: missing"]
    size = file.stat().st_size
    if size != entry.num_bytes:
        return [], [f"{file}: {size} bytes, dataset.json says {entry.num_bytes}"]
    intact = sha256_of(file) == entry.sha256
    try:
        with ShardReader(file) as reader:
            # Always: the checksum in dataset.json is that of a damaged file if `merge` met it so.
            faults = [f"{file}: frames of {clip} do not match their crc32" for clip in reader.damaged_clips()]
            if reader.layout.dataset_id != dataset.dataset_id:
                faults.append(f"{file}: of another extraction (dataset {reader.layout.dataset_id[:12]})")
            rows = [row_from_json(text) for text in reader.manifest]
            faults += _check_beside(file, reader, rows)
    except DataError as error:
        return [], [str(error) if str(file) in str(error) else f"{file}: {error}"]
    if not intact and not faults:
        faults = [f"{file}: SHA-256 differs from dataset.json's"]
    return rows, faults


def _check_beside(file: Path, reader: ShardReader, rows: list[ClipRow]) -> list[str]:
    """Faults between a shard's own data sets and the manifest rows that it holds."""
    return [
        f"{file}: row {index} ({row.clip_id}) contradicts its manifest row"
        for index, row in enumerate(rows)
        if (reader.clip_id[index], int(reader.label[index]), int(reader.crc32[index]), file.name, index)
        != (row.clip_id, row.label, row.crc32, row.shard, row.row)
    ]


def _check_manifests(frame: pd.DataFrame, rows: dict[str, ClipRow], dataset: Dataset, manifests: Path) -> list[str]:
    faults = []
    checkable = {entry.file for entry in dataset.shards} & {row.shard for row in rows.values()}
    for values in frame.itertuples(index=False):
        file = manifests / "clips" / f"{values.class_name}.csv"
        row = rows.get(str(values.clip_id))
        if row is None:
            if values.shard in checkable or values.shard not in {entry.file for entry in dataset.shards}:
                faults.append(f"{file}: {values.clip_id} is in no shard")
        else:
            faults += _changed_columns(file, row, values)
    missing = sorted(rows.keys() - set(frame["clip_id"]))
    faults += [f"{manifests / 'clips' / rows[clip_id].class_name}.csv: {clip_id} is missing" for clip_id in missing]
    return faults


def _changed_columns(file: Path, row: ClipRow, values: Iterable[object]) -> list[str]:
    expected = dataclasses.astuple(row)
    return [
        f"{file}: {row.clip_id}: {column} is {found}, the shard says {stored}"
        for column, found, stored in zip(MANIFEST_COLUMNS, values, expected, strict=True)
        if found != stored
    ]
