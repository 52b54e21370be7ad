"""Whether shards and manifests are of one data set, and in which words all commands say so where they are not."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from shared.errors import DataError
from shared.manifests.files import Dataset
from shared.shards.format import SHARD_NAMES
from shared.shards.places import RemoteShards, ShardsPlace
from shared.shards.reader import ShardReader, is_the_files_fault, read_dataset_id
from shared.shards.remote import copy_of, drop_copy, names_at
from shared.terminal.console import counted

_NUM_DIGITS = 12  # of a dataset_id, as people are shown it


def short_id(dataset_id: str) -> str:
    """The first digits of a dataset_id, enough to tell data sets apart."""
    return dataset_id[:_NUM_DIGITS]


def data_set_text(dataset: Dataset) -> str:
    """A data set in a few words, such as ``0123456789ab (400 clips of 10 classes, 224x304, K=1)``."""
    size = f"{dataset.size}, K={dataset.frames_per_segment}"
    clips, classes = counted(dataset.num_clips, "clip"), counted(len(dataset.class_names), "class")
    return f"{short_id(dataset.dataset_id)} ({clips} of {classes}, {size})"


@dataclass(frozen=True, kw_only=True)
class ShardsAtHand:
    """How the shards of a folder stand to manifests. Damaged shards are in none of the three."""

    own: tuple[str, ...]
    """Names of those of the manifests' data set."""
    foreign: dict[str, str]
    """Names of those of another one, with its dataset_id."""
    missing: tuple[str, ...]
    """Names that the manifests give and that are not there."""


def look_at(shards: Path, named: Collection[str], *, dataset_id: str) -> ShardsAtHand:
    """What lies in the folder ``shards`` of the shards ``named`` in manifests of this data set, and besides them."""
    ids = {file.name: read_dataset_id(file) for file in sorted(shards.glob(SHARD_NAMES))}
    return ShardsAtHand(
        own=tuple(name for name, found in ids.items() if found == dataset_id),
        foreign={name: found for name, found in ids.items() if found and found != dataset_id},
        missing=tuple(sorted(name for name in named if not (shards / name).is_file())),
    )


def what_is_wrong(shards: Path, named: Collection[str], *, dataset_id: str) -> str:
    """One sentence on shards that do not serve these manifests, with the way out. Empty where all are there and own.

    It never asks for a whole shard to be deleted: what is of another data set may be all that is left of it.
    """
    found = look_at(shards, named, dataset_id=dataset_id)
    if found.foreign:
        return _foreign_text(shards, found, named, dataset_id=dataset_id)
    if not found.missing:
        return ""
    first = found.missing[0] + (" first" if len(found.missing) > 1 else "")
    if len(found.missing) == len(named):
        return (
            f"no shard that the manifests name is in {shards} ({counted(len(named), 'shard')}, {first}); "
            "name their folder with --shards, or make them with `hmdb-prep extract`"
        )
    return (
        f"{len(found.missing)} of the {len(named)} shards {'is' if len(found.missing) == 1 else 'are'} missing in "
        f"{shards}, {first}; run `hmdb-prep extract`, which makes what is missing, or name another folder with --shards"
    )


def _foreign_text(shards: Path, found: ShardsAtHand, named: Collection[str], *, dataset_id: str) -> str:
    other = Counter(found.foreign.values()).most_common(1)[0][0]
    ids = f"({short_id(other)}; the manifests are of {short_id(dataset_id)})"
    if not found.own:
        return (
            f"the shards in {shards} are of another data set {ids}; name their own manifests with --manifests "
            "(`hmdb-prep merge` writes them), or other shards with --shards"
        )
    first = next(iter(found.foreign))
    which = f"{shards / first} is"
    if len(found.foreign) > 1:
        which = f"{len(found.foreign)} of the shards in {shards} are, {first} first,"
    remedy = "move it" if len(found.foreign) == 1 else "move them"
    again = ", then `hmdb-prep extract` makes what is missing" if found.missing or set(found.foreign) & {*named} else ""
    return f"{which} of another data set {ids}; {remedy} to another folder{again}"


def check_present(shards: ShardsPlace, names: Collection[str], *, named: Collection[str], dataset_id: str) -> None:
    """Raise DataError where one of these shards is not there; none is opened. named: all shards of the manifests."""
    if isinstance(shards, RemoteShards):
        there = names_at(shards)
        if missing := sorted(set(names) - there):
            raise DataError(
                f"{len(missing)} of the {counted(len(names), 'shard')} that are needed are not at {shards}, "
                f"{missing[0]} first; copy them there, or name another folder or address with --shards"
            )
        return
    there = frozenset(entry.name for entry in os.scandir(shards)) if shards.is_dir() else frozenset()
    if not there.issuperset(names):
        raise DataError(what_is_wrong(shards, named, dataset_id=dataset_id))


def open_shard(shards: ShardsPlace, name: str, *, named: Collection[str], dataset_id: str) -> ShardReader:
    """Open one of the shards ``named`` in manifests of this data set; of one at an address its copy.

    Raises DataError where it is missing, damaged or of another data set.
    """
    if isinstance(shards, RemoteShards):
        return _open_copy(shards, name, dataset_id=dataset_id)
    file = shards / name
    if not file.exists():
        raise DataError(what_is_wrong(shards, named, dataset_id=dataset_id))
    reader = ShardReader(file)
    if reader.layout.dataset_id != dataset_id:
        reader.close()
        raise DataError(what_is_wrong(shards, named, dataset_id=dataset_id))
    return reader


def _open_copy(shards: RemoteShards, name: str, *, dataset_id: str) -> ShardReader:
    file = copy_of(shards, name, dataset_id=dataset_id)
    before = _identity(file)
    try:
        reader = ShardReader(file)
    except DataError as error:
        # It may have had to make room at once, for a shard that another thread or process wanted, and be back again.
        if before is None or _identity(file) != before:
            return _open_copy(shards, name, dataset_id=dataset_id)
        if not is_the_files_fault(error):
            raise
        drop_copy(shards, file)  # the next try copies it again
        raise DataError(f"{shards}/{name} is damaged or no shard; copy it there again") from error
    if reader.layout.dataset_id == dataset_id:
        return reader
    reader.close()
    drop_copy(shards, file)
    raise DataError(
        f"{shards}/{name} is of another data set ({short_id(reader.layout.dataset_id)}; the manifests are of "
        f"{short_id(dataset_id)}); name its own manifests with --manifests, or other shards with --shards"
    )


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells a copy from one that is made later under the same name; None where there is none."""
    try:
        state = file.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns


def check_place(reader: ShardReader, clip_id: str, *, row: int) -> None:
    """Raise DataError where a shard does not hold a clip in the row that the manifests say: these were edited."""
    if not reader.holds(clip_id, row=row):
        raise DataError(
            f"{reader.path} does not hold {clip_id} in row {row}, as the manifests say; "
            "run `hmdb-prep merge` to make them again"
        )
