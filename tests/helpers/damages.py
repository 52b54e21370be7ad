"""What can befall the shards and manifests of seven clips in seven shards (the fixture ``pristine``)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py


def shard(folder: Path, place: int) -> Path:
    return sorted((folder / "shards").glob("shard-*.h5"))[place]


def flip(file: Path) -> None:
    with h5py.File(file, "r") as shard:
        place = shard["frames"].id.get_offset()
    with file.open("r+b") as raw:
        raw.seek(place + 7)
        byte = raw.read(1)[0]
        raw.seek(place + 7)
        raw.write(bytes([byte ^ 1]))


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / "manifests" / "clips" / "walk.csv"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


def give_another_id(folder: Path) -> None:
    with h5py.File(shard(folder, 4), "r+") as file:
        file.attrs["dataset_id"] = "e" * 64


DAMAGES: dict[str, Callable[[Path], object]] = {
    "none": lambda folder: None,
    "bits": lambda folder: [flip(shard(folder, place)) for place in (0, 3, 4)],
    "missing": lambda folder: [shard(folder, place).unlink() for place in (5, 2)],
    "cut": lambda folder: os.truncate(shard(folder, 1), 3000),
    "foreign": give_another_id,
    "unlisted": lambda folder: shutil.copy(shard(folder, 1), folder / "shards" / "shard-00099.h5"),
    "an edited row": lambda folder: edit(folder, "walk/s1.avi", "walk/s9.avi"),
    "a renamed clip": lambda folder: edit(folder, "walk/s1,", "walk/t1,"),
    "another shard in the row": lambda folder: edit(folder, "shard-0000", "shard-0001"),
}
