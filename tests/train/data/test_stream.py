"""Rows, order, sampling and reading: pure functions, the stored pixels, and the same clips however a batch is cut."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_dataset import DATASET_ID, MadeDataset
from made_plan import plan_row

from shared.errors import DataError, UsageError
from shared.manifests.files import read_manifests
from train.data.loader.batches import Turns, cut_batch, epoch_order, epoch_steps, training_batches
from train.data.loader.prefetch import Prefetcher, prefetched
from train.data.loader.reader import BatchReader, ClipReader, blend
from train.data.samples import (
    ClipTable,
    Samples,
    choose_rows,
    make_table,
    planned_samples,
    real_samples,
    shard_numbers,
)


@pytest.fixture(scope="module")
def table(made: MadeDataset) -> ClipTable:
    return make_table(read_manifests(made.manifests))


@pytest.fixture
def reader(made: MadeDataset, table: ClipTable) -> Iterator[BatchReader]:
    clips = ClipReader(made.shards, table, dataset_id=DATASET_ID)
    batches = BatchReader(clips, num_threads=2, pinned=False)
    yield batches
    batches.close()
    clips.close()


def stored(made: MadeDataset, table: ClipTable, clip: int) -> np.ndarray:
    from shared.shards.reader import ShardReader

    with ShardReader(made.shards / table.shard[clip]) as shard:
        return np.array(shard.frames[table.row[clip]])


def samples_with_synthetic(table: ClipTable) -> Samples:
    a, b = table.clip_id[0], table.clip_id[3]
    return planned_samples(table, [plan_row("real", a), plan_row("real", a), plan_row("synthetic", a, b, lam=0.3)])


def test_order_is_a_pure_function_of_seed_and_epoch() -> None:
    assert np.array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=1, epoch=2))
    assert sorted(epoch_order(50, seed=1, epoch=2)) == list(range(50))
    assert not np.array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=1, epoch=3))
    assert not np.array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=2, epoch=2))


def test_steps_continue_where_they_stopped_and_show_every_sample_once() -> None:
    steps = list(epoch_steps(23, batch_size=5, seed=0, epoch=4))
    assert sorted(np.concatenate([step.chosen for step in steps])) == list(range(23))
    later = list(epoch_steps(23, batch_size=5, seed=0, epoch=4, first=3))
    assert [step.chosen.tolist() for step in later] == [step.chosen.tolist() for step in steps[3:]]


SHARD_OF_SAMPLES = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4])


def turns_of(at_once: int) -> Turns:
    return Turns(shard=SHARD_OF_SAMPLES, at_once=at_once)


def test_the_order_of_shards_in_turn_is_fixed() -> None:
    """Golden: it settles what a run trains on, and a run may be continued by a later version."""
    golden = {
        (1, 0): [0, 2, 1, 11, 10, 9, 8, 6, 7, 5, 3, 4],
        (2, 0): [11, 0, 2, 1, 10, 6, 7, 9, 5, 8, 3, 4],
        (2, 1): [7, 11, 6, 5, 1, 0, 2, 8, 10, 9, 3, 4],
    }
    for (at_once, epoch), expected in golden.items():
        assert epoch_order(12, seed=3, epoch=epoch, turns=turns_of(at_once)).tolist() == expected


@given(shard=st.lists(st.integers(0, 9), min_size=1, max_size=60), at_once=st.integers(1, 12), epoch=st.integers(0, 3))
def test_shards_come_in_turn_and_every_sample_once(shard: list[int], at_once: int, epoch: int) -> None:
    numbers = np.unique(shard, return_inverse=True)[1]
    order = epoch_order(len(shard), seed=0, epoch=epoch, turns=Turns(shard=numbers, at_once=at_once))
    assert sorted(order) == list(range(len(shard)))
    left, group = set(numbers.tolist()), set[int]()
    counts = np.bincount(numbers)
    for number in numbers[order].tolist():  # a new shard may begin only when those of the group before are through
        if number not in group:
            if len(group) == at_once or not group:
                assert not counts[list(group)].any()
                group = set()
            assert number in left
            left.remove(number)
            group.add(number)
        counts[number] -= 1


def test_one_group_of_all_shards_is_the_order_without_turns() -> None:
    assert np.array_equal(epoch_order(12, seed=3, epoch=1, turns=turns_of(5)), epoch_order(12, seed=3, epoch=1))
    steps = list(epoch_steps(12, batch_size=5, seed=0, epoch=4, turns=turns_of(2)))
    later = list(epoch_steps(12, batch_size=5, seed=0, epoch=4, first=1, turns=turns_of(2)))
    assert [step.chosen.tolist() for step in later] == [step.chosen.tolist() for step in steps[1:]]


def test_shards_are_numbered_in_the_order_of_their_names(table: ClipTable) -> None:
    numbers = shard_numbers(table)
    assert [f"shard-{number:05d}.h5" for number in numbers] == list(table.shard)


@given(num_clips=st.integers(1, 40), num_parts=st.integers(1, 9))
def test_parts_hold_every_clip_once_in_whole_pairs(num_clips: int, num_parts: int) -> None:
    parts = cut_batch(num_clips, num_parts=num_parts)
    assert len(parts) == num_parts and len({len(part.places) for part in parts}) == 1
    real = np.concatenate([part.places[part.weight > 0] for part in parts])
    assert real.tolist() == list(range(num_clips))
    for part in parts:
        assert len(part.places) % 2 == 0
        assert all(place % 2 == 0 for place in part.places[::2][part.weight[::2] > 0])


def test_blend_is_the_formula_and_keeps_the_ends() -> None:
    a, b = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    assert np.array_equal(blend(a, b, 0.0), a) and np.array_equal(blend(a, b, 1.0), b)
    assert np.array_equal(blend(a, b, 0.5), (a.astype(int) + b + 1) // 2)
    for lam in (0.25, 0.123456789):
        expected = np.floor((1 - lam) * a.astype(np.float64) + lam * b.astype(np.float64) + 0.5)
        assert np.array_equal(blend(a, b, lam), expected)


def test_evaluation_reads_the_middle_candidates(made: MadeDataset, table: ClipTable, reader: BatchReader) -> None:
    frames = reader.evaluation(np.array([5, 0]), np.arange(1, 12, 3))
    for place, clip in enumerate((5, 0)):
        assert np.array_equal(frames[place].numpy(), stored(made, table, clip)[1::3])


def test_training_reads_one_candidate_of_each_segment(made: MadeDataset, table: ClipTable, reader: BatchReader) -> None:
    samples = real_samples(table, np.arange(len(table.clip_id)))
    seen = set()
    for epoch in range(6):
        steps = epoch_steps(len(samples), batch_size=8, seed=0, epoch=epoch)
        batches = training_batches(
            reader,
            samples,
            steps,
            seed=0,
            tsn=True,
            num_parts=1,
            own_parts=range(1),
        )
        for batch in batches:
            for place, sample in enumerate(batch.step.chosen[:2]):
                frames, rows = batch.frames[0][place].numpy(), stored(made, table, int(samples.clip[sample]))
                for segment in range(4):
                    matches = [j for j in range(3) if np.array_equal(frames[segment], rows[3 * segment + j])]
                    assert len(matches) == 1
                    seen.add((segment, matches[0]))
    assert seen == {(segment, j) for segment in range(4) for j in range(3)}


@pytest.mark.parametrize("num_parts", [2, 4])
def test_parts_read_the_same_clips_as_the_whole(table: ClipTable, reader: BatchReader, num_parts: int) -> None:
    samples = samples_with_synthetic(table)

    def read(parts: int, own: range) -> list[np.ndarray]:
        steps = epoch_steps(len(samples), batch_size=3, seed=3, epoch=1)
        batches = training_batches(
            reader,
            samples,
            steps,
            seed=3,
            tsn=True,
            num_parts=parts,
            own_parts=own,
        )
        return [
            frame.numpy()
            for batch in batches
            for part, frames in zip(batch.parts, batch.frames, strict=True)
            for frame, weight in zip(frames, part.weight, strict=True)
            if weight
        ]

    whole = read(1, range(1))
    cut = [frame for index in range(num_parts) for frame in read(num_parts, range(index, index + 1))]
    assert len(whole) == 3
    for one, other in zip(whole, cut, strict=True):
        assert np.array_equal(one, other)


def test_synthetic_clips_are_blended_frame_by_frame(made: MadeDataset, table: ClipTable, reader: BatchReader) -> None:
    samples = samples_with_synthetic(table)
    chosen = np.flatnonzero(samples.synthetic)
    rows = np.array([[0, 4, 8, 11]])
    frames = reader.training(samples, chosen, rows)[0].numpy()
    a = stored(made, table, int(samples.clip[chosen[0]]))[rows[0]].astype(np.float64)
    b = stored(made, table, int(samples.neighbor[chosen[0]]))[rows[0]].astype(np.float64)
    assert np.array_equal(frames, np.floor((1 - 0.3) * a + 0.3 * b + 0.5))


def test_repetitions_show_other_frames(table: ClipTable) -> None:
    samples = samples_with_synthetic(table)
    assert len(set(samples.key.tolist())) == 3
    plain = real_samples(table, np.array([0]))
    assert plain.key[0] in samples.key


def test_real_samples_are_those_of_a_plan_that_names_every_clip_once(table: ClipTable) -> None:
    rows = np.array([1, 4, 5, 20])
    names = [(table.clip_id[row], table.class_name[row], int(table.label[row])) for row in rows]
    plan = [dataclasses.replace(plan_row("real", name), class_name=kind, label=label) for name, kind, label in names]
    planned, real = planned_samples(table, plan), real_samples(table, rows)
    for field in dataclasses.fields(Samples):
        found, expected = getattr(real, field.name), getattr(planned, field.name)
        assert found.dtype == expected.dtype and np.array_equal(found, expected)


def test_rows_keep_sources_apart_and_every_class_in_training(made: MadeDataset) -> None:
    frame = read_manifests(made.manifests)
    rows = choose_rows(frame, split="1", val_fraction=0.3)
    assert len(rows.training) + len(rows.validation) == 18 and len(rows.test) == 6
    source = frame["source"].to_numpy(object)
    assert not set(source[rows.training]) & set(source[rows.validation])
    assert not set(rows.test) & (set(rows.training) | set(rows.validation))
    assert set(frame["class_name"].to_numpy(object)[rows.training]) == {"jump", "run", "walk"}
    everything = choose_rows(frame, split="all", val_fraction=0)
    assert len(everything.training) == 24 and not len(everything.test)


def test_shards_that_do_not_fit_are_refused(made: MadeDataset, table: ClipTable, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="of another data set"):
        ClipReader(made.shards, table, dataset_id="e" * 64)
    with pytest.raises(DataError, match="no shard that the manifests name"):
        ClipReader(tmp_path, table, dataset_id=DATASET_ID)


def test_a_prefetcher_keeps_nothing_that_it_has_given_away() -> None:
    given: list[weakref.ref[set[int]]] = []

    def items() -> Iterator[set[int]]:
        given.append(weakref.ref(item := {1}))
        yield item
        del item
        deadline = time.monotonic() + 5
        while given[0]() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        yield set() if given[0]() is None else {2}

    with Prefetcher(items(), ahead=2) as stream:
        for item in stream:
            assert item != {2}, "the first item is still held somewhere"
            del item


def test_prefetcher_hands_over_errors_and_ends_early() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise DataError("a shard went away")

    with Prefetcher(failing(), ahead=2) as stream, pytest.raises(DataError, match="went away"):
        assert list(stream) == [1]
    with Prefetcher(iter(range(1000)), ahead=2) as stream:
        assert next(iter(stream)) == 0
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_any_item_is_handed_over_also_none_and_an_error() -> None:
    """A collate_fn may give None for a batch to be left out."""
    items = [1, None, DataError("an item, not raised"), StopIteration(), 2]
    assert list(prefetched(items)) == items


def test_prefetched_batches_come_in_order_while_others_are_made() -> None:
    made: list[int] = []
    waiting = threading.Event()

    def batches() -> Iterator[int]:
        for number in range(6):
            made.append(number)
            if number == 3:
                waiting.set()
            yield number

    stream = prefetched(batches(), ahead=2)
    assert made == []
    assert next(stream) == 0
    assert waiting.wait(timeout=60)  # 1 and 2 wait, 3 is made
    assert list(stream) == [1, 2, 3, 4, 5]
    early = prefetched([1, 2, 3])
    assert next(early) == 1
    early.close()  # type: ignore[attr-defined]
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())
    with pytest.raises(UsageError, match="ahead is 0; at least 1"):
        prefetched([1], ahead=0)


def test_memory_of_batches_is_used_again_but_never_under_a_tensor(reader: BatchReader) -> None:
    batches, clips, rows = reader, np.arange(4), np.arange(4)
    first = batches.evaluation(clips, rows)
    address, content, kept = first.data_ptr(), first.clone(), first[1, 3]
    del first  # a view of it is still there
    second = batches.evaluation(clips[::-1].copy(), rows)
    assert second.data_ptr() != address
    assert torch.equal(kept, content[1, 3]) and torch.equal(second, content.flip(0))
    del kept
    assert batches.evaluation(clips[:2], rows).data_ptr() == address
