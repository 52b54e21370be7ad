"""Shards opened on use: no more than the bound, the same clips, and faults named when they are met."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from made_dataset import DATASET_ID, MadeDataset, make_dataset

from shared.errors import DataError
from shared.manifests.files import read_manifests
from shared.shards.places import ShardsPlace
from shared.shards.reader import ShardReader
from train.data.loader.open_shards import OpenShards

NUM_SHARDS = 12


@pytest.fixture
def many(tmp_path: Path) -> MadeDataset:
    return make_dataset(tmp_path, clips_per_class=8, clips_per_shard=2, height=8, width=8)


def clips_of(made: MadeDataset) -> dict[str, list[tuple[str, int]]]:
    frame = read_manifests(made.manifests)
    clips: dict[str, list[tuple[str, int]]] = {}
    for clip_id, shard, row in zip(frame["clip_id"], frame["shard"], frame["row"], strict=True):
        clips.setdefault(shard, []).append((clip_id, row))
    return clips


def open_shards(made: MadeDataset, *, most: int, shards: ShardsPlace | None = None) -> OpenShards:
    clips = clips_of(made)
    return OpenShards(shards or made.shards, clips, dataset_id=DATASET_ID, named=list(clips), most=most)


def mapped_files(folder: Path) -> set[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.rpartition("/")[2] for line in lines if f"{folder}/" in line}


def frames_in(file: Path) -> np.ndarray:
    with ShardReader(file) as reader:
        return np.array(reader.frames)


def test_no_more_are_mapped_than_may_be_and_all_are_read_right(many: MadeDataset) -> None:
    names = sorted(clips_of(many))
    assert len(names) == NUM_SHARDS
    shards = open_shards(many, most=3)
    assert mapped_files(many.shards) == set(names[:3])
    for name in [*names, *names[::-1], *names]:
        assert np.array_equal(shards.frames(name), frames_in(many.shards / name))
        assert len(mapped_files(many.shards)) <= 3
    assert mapped_files(many.shards) == set(names[-3:])
    shards.close()
    assert not mapped_files(many.shards)


def test_few_shards_are_opened_once(many: MadeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = open_shards(many, most=100)
    first = {name: shards.frames(name) for name in clips_of(many)}
    monkeypatch.setattr("train.data.loader.open_shards.open_shard", None)
    monkeypatch.setattr(np, "memmap", None)
    assert all(shards.frames(name) is frames for name, frames in first.items())


def test_frames_that_are_being_read_outlast_their_shard(many: MadeDataset) -> None:
    names = sorted(clips_of(many))
    shards = open_shards(many, most=1)
    kept = shards.frames(names[0])
    shards.frames(names[1])
    assert np.array_equal(kept, frames_in(many.shards / names[0]))


def test_threads_read_what_one_reads(many: MadeDataset) -> None:
    names = sorted(clips_of(many))
    expected = {name: frames_in(many.shards / name) for name in names}
    shards = open_shards(many, most=2)
    wanted = [names[index] for index in np.random.default_rng(0).integers(0, NUM_SHARDS, 400)]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda name: np.array_equal(shards.frames(name), expected[name]), wanted)
        assert all(found)


def test_a_shard_that_is_absent_is_named_before_anything_is_read(many: MadeDataset) -> None:
    (many.shards / "shard-00009.h5").unlink()
    with pytest.raises(DataError, match=r"1 of the 12 shards is missing in .*, shard-00009\.h5"):
        open_shards(many, most=2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dataset_id", "e" * 64, "shard-00009.h5 is of another data set"),
        ("num_segments", 2, "data sets do not fit together"),
    ],
)
def test_what_a_later_shard_is_not_is_said_when_it_is_opened(
    many: MadeDataset, name: str, value: object, message: str
) -> None:
    with h5py.File(many.shards / "shard-00009.h5", "r+") as file:
        file.attrs[name] = value
    shards = open_shards(many, most=2)
    with pytest.raises(DataError, match=message):
        shards.frames("shard-00009.h5")


def test_a_later_shard_of_another_size_is_refused(many: MadeDataset, tmp_path: Path) -> None:
    large = make_dataset(tmp_path / "large", clips_per_class=8, clips_per_shard=2, height=8, width=16)
    (large.shards / "shard-00009.h5").replace(many.shards / "shard-00009.h5")
    shards = open_shards(many, most=2)
    with pytest.raises(DataError, match=r"clips of several sizes \(8x8, 8x16\)"):
        shards.frames("shard-00009.h5")


def test_a_later_shard_without_its_clip_is_refused(many: MadeDataset) -> None:
    clips = clips_of(many)
    clips["shard-00009.h5"] = [("walk/other", 0)]
    shards = OpenShards(many.shards, clips, dataset_id=DATASET_ID, named=list(clips), most=2)
    with pytest.raises(DataError, match="does not hold walk/other in row 0"):
        shards.frames("shard-00009.h5")


def test_a_shard_that_changed_is_refused_also_once_it_was_closed(many: MadeDataset) -> None:
    names = sorted(clips_of(many))
    shards = open_shards(many, most=1)
    shards.frames(names[1])
    os.truncate(many.shards / names[0], 4096)
    with pytest.raises(DataError, match="was changed while it was being read"):
        shards.frames(names[0])
