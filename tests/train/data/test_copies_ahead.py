"""Shards at an address that are read in turn: the next ones are copied meanwhile, and nothing else changes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from extraction import wait_until
from fsspec.implementations.memory import MemoryFileSystem
from made_dataset import DATASET_ID, MadeDataset, make_dataset

from shared.manifests.files import read_manifests
from shared.shards.places import RemoteShards, ShardsPlace
from train.data.loader.batches import Step, Turns, epoch_steps, training_batches
from train.data.loader.copies_ahead import with_copies_ahead
from train.data.loader.reader import BatchReader, ClipReader
from train.data.samples import ClipTable, Samples, make_table, real_samples, shard_numbers

NUM_SHARDS = 6
BY_READER = "reader"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeDataset:
    return make_dataset(tmp_path_factory.mktemp("made"), clips_per_shard=4, height=8, width=8)


@pytest.fixture(scope="module")
def table(made: MadeDataset) -> ClipTable:
    return make_table(read_manifests(made.manifests))


class Store:
    """A server of shards, which notes who copies what, and breaks down for the thread that copies ahead."""

    def __init__(self) -> None:
        self.copied: list[tuple[str, str]] = []
        self.is_broken = False

    def get_file(self, system: MemoryFileSystem, remote: str, local: str) -> None:
        ahead = threading.current_thread().name.startswith("copy-shard")
        if ahead and self.is_broken:
            raise RuntimeError("the endpoint is gone")
        self.copied.append(("ahead" if ahead else BY_READER, remote.rpartition("/")[2]))
        Path(local).write_bytes(system.cat_file(remote))


@pytest.fixture
def store(made: MadeDataset, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    memory, store = fsspec.filesystem("memory"), Store()
    memory.put(str(made.shards), "/bucket/", recursive=True)
    monkeypatch.setattr(MemoryFileSystem, "get_file", lambda *words: store.get_file(*words))
    yield store
    memory.rm("/bucket", recursive=True)


def remote(made: MadeDataset, cache: Path, *, num_shards: float) -> RemoteShards:
    size = max(file.stat().st_size for file in made.shards.iterdir())
    return RemoteShards(address="memory://bucket/shards", cache=cache, cache_gb=num_shards * size / 1e9)


def samples_of(table: ClipTable) -> Samples:
    return real_samples(table, np.arange(len(table.clip_id)))


def steps_of(table: ClipTable, *, at_once: int) -> Iterator[Step]:
    samples = samples_of(table)
    turns = Turns(shard=shard_numbers(table)[samples.clip], at_once=at_once)
    return epoch_steps(len(samples), batch_size=2, seed=3, epoch=0, turns=turns)


def opened(shards: ShardsPlace, table: ClipTable) -> BatchReader:
    return BatchReader(ClipReader(shards, table, dataset_id=DATASET_ID), num_threads=2, pinned=False)


def epoch(reader: BatchReader, table: ClipTable, *, at_once: int, ahead: bool) -> list[torch.Tensor]:
    samples, steps = samples_of(table), steps_of(table, at_once=at_once)
    if ahead:
        steps = with_copies_ahead(steps, samples, table, reader, at_once=at_once)
    batches = training_batches(reader, samples, steps, seed=3, tsn=True, num_parts=1, own_parts=range(1))
    return [batch.frames[0].clone() for batch in batches]


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("num_shards", [1.5, 3.5, 5.0, 9.0])
def test_what_is_read_is_the_same_and_no_shard_is_copied_twice(
    made: MadeDataset, table: ClipTable, store: Store, tmp_path: Path, num_shards: float, at_once: int
) -> None:
    expected = epoch(opened(made.shards, table), table, at_once=at_once, ahead=False)
    reader = opened(remote(made, tmp_path, num_shards=num_shards), table)
    first = store.copied.pop()[1]  # is copied to begin with, and gone where there is no room for it until its turn
    found = epoch(reader, table, at_once=at_once, ahead=True)
    assert len(found) == len(expected) and all(map(torch.equal, found, expected))
    if num_shards >= at_once:
        counts = Counter(name for _, name in store.copied)
        assert set(counts.values()) == {1} and len({*counts, first}) == NUM_SHARDS
    if num_shards < 2:
        assert all(who == BY_READER for who, _ in store.copied)
    assert (
        sum(file.stat().st_size for file in tmp_path.rglob("*.h5"))
        <= remote(made, tmp_path, num_shards=num_shards).cache_bytes
    )


def test_the_next_shards_are_there_before_they_are_wanted(
    made: MadeDataset, table: ClipTable, store: Store, tmp_path: Path
) -> None:
    reader = opened(remote(made, tmp_path, num_shards=5), table)
    order = list(dict.fromkeys(table.shard[clip] for step in steps_of(table, at_once=1) for clip in step.chosen))
    steps = with_copies_ahead(steps_of(table, at_once=1), samples_of(table), table, reader, at_once=1)
    for step in steps:
        now = max(order.index(table.shard[clip]) for clip in step.chosen)
        wanted = order[now + 1 : now + 2]
        wait_until(lambda: {*wanted} <= {file.name for file in tmp_path.rglob("shard-*.h5")})  # noqa: B023
    assert all(who == "ahead" for who, _ in store.copied[1:])


def test_what_goes_wrong_ahead_is_left_to_the_reader(
    made: MadeDataset, table: ClipTable, store: Store, tmp_path: Path
) -> None:
    expected = epoch(opened(made.shards, table), table, at_once=1, ahead=False)
    store.is_broken = True
    found = epoch(opened(remote(made, tmp_path, num_shards=5), table), table, at_once=1, ahead=True)
    assert all(map(torch.equal, found, expected))
    assert [who for who, _ in store.copied] == [BY_READER] * NUM_SHARDS


def test_an_epoch_that_is_broken_off_ends_the_thread(
    made: MadeDataset, table: ClipTable, store: Store, tmp_path: Path
) -> None:
    reader = opened(remote(made, tmp_path, num_shards=9), table)
    steps = with_copies_ahead(steps_of(table, at_once=2), samples_of(table), table, reader, at_once=2)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("copy-shard")]
