"""Whose manifests lie in a folder: those of another data set are never replaced."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from itertools import islice
from pathlib import Path

from preprocess.extract.state import read_extraction_plan
from shared.errors import DataError
from shared.manifests.files import DATASET_FILE, peek_dataset_id, read_dataset
from shared.shards.data_sets import data_set_text, short_id
from shared.shards.format import SHARD_NAMES
from shared.shards.reader import read_dataset_id

_MOST_NEIGHBOURS = 50  # folders that are looked into for the shards of a data set


def check_owner(manifests: Path, shards: Path, *, dataset_id: str, own: Collection[str] = ()) -> None:
    """Raise DataError where the folder holds the manifests of a data set that is neither this one nor in ``own``."""
    found = peek_dataset_id(manifests)
    if not found or found == dataset_id or found in own:
        return
    try:
        text = data_set_text(read_dataset(manifests))
    except DataError:  # of another version, or damaged further on
        text = short_id(found)
    home = _home_of(found, beside=shards)
    raise DataError(
        f"{manifests} holds the manifests of another data set, {text}"
        f"{f', whose shards are in {home}' if home else ''}; this one is {short_id(dataset_id)}. "
        "Name another folder for its manifests with --manifests"
        f"{'' if home else f', or delete {manifests / DATASET_FILE} if the other one is no longer wanted'}"
    )


def _home_of(dataset_id: str, *, beside: Path) -> Path | None:
    """The folder beside this one that holds shards of a data set, as far as one look finds it."""
    first_shards = islice(beside.absolute().parent.glob("*/shard-00000.h5"), _MOST_NEIGHBOURS)
    return next((file.parent for file in first_shards if read_dataset_id(file) == dataset_id), None)


def data_sets_of(folder: Path) -> frozenset[str]:
    """The dataset_ids of the extraction and the shards in this folder, as far as they can be read."""
    found = {read_dataset_id(file) for file in folder.glob(SHARD_NAMES)}
    with contextlib.suppress(DataError):
        plan = read_extraction_plan(folder)
        if plan is not None:
            found.add(plan.dataset_id)
    return frozenset(found - {""})


def disown(manifests: Path, data_sets: Collection[str]) -> None:
    """Remove ``dataset.json`` where it is of one of these data sets, whose shards are about to go.

    So a run that is killed before it writes its own leaves no manifests that claim shards which are no more.
    """
    if peek_dataset_id(manifests) in data_sets:
        (manifests / DATASET_FILE).unlink()
