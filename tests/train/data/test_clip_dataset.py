"""ClipDataset: the frames of the shards in the order of the manifests, in any number of processes, however started."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_dataset import CLASSES, DATASET_ID, MadeDataset, make_dataset
from torch.utils.data import DataLoader, DistributedSampler

from shared.errors import DataError, UsageError
from shared.manifests.files import read_manifests
from shared.shards.reader import ShardReader
from train.data.clip_dataset import ClipDataset, collate
from train.data.loader.batches import epoch_steps, training_batches
from train.data.loader.reader import BatchReader, ClipReader
from train.data.samples import choose_rows, make_table, real_samples
from train.run.config.fields import RunConfig


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> MadeDataset:
    """A data set of one frame a segment."""
    return make_dataset(tmp_path_factory.mktemp("still"), frames_per_segment=1)


def give_parts(manifests: Path, parts: dict[str, str]) -> None:
    """Write the part of some clips into the column of split 1."""
    for file in (manifests / "clips").glob("*.csv"):
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
        frame["split1"] = [parts.get(name, part) for name, part in zip(frame["clip_id"], frame["split1"], strict=True)]
        frame.to_csv(file, index=False)


def items_of(loader: DataLoader[object]) -> tuple[torch.Tensor, list[int]]:
    """All frames and labels that a loader gives, one clip after the other."""
    batches = list(loader)
    return torch.cat([frames for frames, _ in batches]), torch.cat([labels for _, labels in batches]).tolist()  # type: ignore[misc]


def test_items_are_the_middle_frames_of_the_shards(made: MadeDataset) -> None:
    dataset = ClipDataset(made.shards, str(made.manifests), split=1, part="test")
    rows = read_manifests(made.manifests).query("split1 == 'test'")
    assert dataset.classes == CLASSES
    assert dataset.clip_ids == tuple(rows["clip_id"])
    assert len(dataset) == len(rows) == 6
    assert dataset.labels.tolist() == rows["label"].tolist()
    for (frames, label), row in zip(dataset, rows.itertuples(), strict=True):
        with ShardReader(made.shards / str(row.shard)) as shard:
            expected = shard.frames[row.row][1::3]
        assert frames.dtype == torch.uint8
        np.testing.assert_array_equal(frames.numpy(), expected)
        assert (type(label), label) == (int, row.label)
    assert torch.equal(dataset[-1][0], dataset[5][0])
    with pytest.raises(IndexError):
        dataset[6]


@pytest.mark.parametrize("split", ["1", "full", "all"])
def test_parts_are_those_of_the_trainer(made: MadeDataset, split: str) -> None:
    frame = read_manifests(made.manifests)
    rows = choose_rows(frame, split=split, val_fraction=RunConfig().val_fraction)
    parts = {"train": rows.training, "val": rows.validation, "test": rows.test}
    for part, places in parts.items():
        if len(places):
            found = ClipDataset(made.shards, made.manifests, split=split, part=part)  # type: ignore[arg-type]
            assert list(found.clip_ids) == frame["clip_id"][places].tolist()
    assert len(rows.training)
    assert len(rows.validation)
    whole = ClipDataset(made.shards, made.manifests, split=split, val_fraction=0)
    assert len(whole) == len(rows.training) + len(rows.validation)


def test_a_split_that_names_its_validation_clips(tmp_path: Path) -> None:
    made = make_dataset(tmp_path)
    give_parts(made.manifests, {"run/clip03": "val", "walk/clip00": "val", "jump/clip01": "unused"})
    parts = {
        part: ClipDataset(made.shards, made.manifests, part=part).clip_ids  # type: ignore[arg-type]
        for part in ("train", "val", "test", "unused")
    }
    assert parts["val"] == ("run/clip03", "walk/clip00")
    assert parts["unused"] == ("jump/clip01",)
    assert sum(map(len, parts.values())) == len({name for names in parts.values() for name in names}) == 24


def test_tsn_shows_the_frames_that_the_trainer_shows(made: MadeDataset) -> None:
    dataset = ClipDataset(made.shards, made.manifests, split="full", frames="tsn", seed=5, val_fraction=0)
    frame = read_manifests(made.manifests)
    table = make_table(frame)
    samples = real_samples(table, np.flatnonzero(frame["split_full"] == "train"))
    reader = ClipReader(made.shards, table, dataset_id=DATASET_ID)
    batches = BatchReader(reader, num_threads=1, pinned=False)
    seen = []
    for epoch in (0, 3):
        dataset.set_epoch(epoch)
        steps = epoch_steps(len(samples), batch_size=4, seed=5, epoch=epoch)
        for batch in training_batches(batches, samples, steps, seed=5, tsn=True, num_parts=1, own_parts=range(1)):
            for place, frames in zip(batch.step.chosen, batch.frames[0], strict=False):
                assert torch.equal(dataset[int(place)][0], frames)
        seen.append(torch.stack([frames for frames, _ in dataset]))
    assert not torch.equal(seen[0], seen[1])
    batches.close()
    reader.close()


@pytest.mark.parametrize("method", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_workers_give_what_this_process_gives(made: MadeDataset, method: str) -> None:
    """Opened here before they start; they stay, and learn of the next epoch."""
    dataset = ClipDataset(made.shards, made.manifests, frames="tsn")
    assert dataset[0][0].shape == (4, 24, 32, 3)
    workers = DataLoader(
        dataset,
        batch_size=4,
        num_workers=2,
        multiprocessing_context=method,
        persistent_workers=True,
        collate_fn=collate,
    )
    passes = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        frames, labels = items_of(workers)
        expected, expected_labels = items_of(DataLoader(dataset, batch_size=4))
        assert torch.equal(frames, expected)
        assert labels == expected_labels == dataset.labels.tolist()
        passes.append(frames)
    assert not torch.equal(*passes)


def test_it_is_pickled_without_what_is_open(made: MadeDataset) -> None:
    dataset = ClipDataset(made.shards, made.manifests, part="test", transform=torch.Tensor.float)
    first = dataset[0][0]
    for again in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        assert torch.equal(again[0][0], first)
        assert again.clip_ids == dataset.clip_ids
    assert len(pickle.dumps(dataset)) < 20_000


def test_it_is_divided_among_processes(made: MadeDataset) -> None:
    dataset = ClipDataset(made.shards, made.manifests, split="all", val_fraction=0)
    parts = [
        items_of(DataLoader(dataset, sampler=DistributedSampler(dataset, num_replicas=2, rank=rank, shuffle=True)))
        for rank in range(2)
    ]
    found = sorted(frames.numpy().tobytes() for part, _ in parts for frames in part)
    assert found == sorted(frames.numpy().tobytes() for frames, _ in dataset)


def test_what_is_done_to_an_item_reaches_no_other(made: MadeDataset) -> None:
    dataset = ClipDataset(made.shards, made.manifests)
    before = dataset[0][0].clone()
    kept = [dataset[place][0] for place in range(3)]
    copies = [frames.clone() for frames in kept]
    dataset[0][0].zero_()
    assert torch.equal(dataset[0][0], before)
    assert all(torch.equal(frames, other) for frames, other in zip(kept, copies, strict=True))


def test_collate_copies_nothing_where_it_can(made: MadeDataset) -> None:
    dataset = ClipDataset(made.shards, made.manifests)
    items = dataset.__getitems__([2, 0, 1])
    expected = torch.stack([dataset[place][0] for place in (2, 0, 1)])
    frames, labels = collate(items)
    assert torch.equal(frames, expected)
    assert frames.data_ptr() == items[0][0].data_ptr()
    assert (labels.dtype, labels.tolist()) == (torch.int64, dataset.labels[[2, 0, 1]].tolist())
    for others in (items[::-1], [dataset[0], dataset[1]], [items[0], items[0]]):
        frames, _ = collate(others)
        assert torch.equal(frames, torch.stack([clip for clip, _ in others]))
        assert frames.data_ptr() != others[0][0].data_ptr()
    named = ClipDataset(made.shards, made.manifests, transform=lambda clip: {"video": clip})
    assert torch.equal(collate(named.__getitems__([2, 0, 1]))[0]["video"], expected)


def test_arguments_that_are_wrong(made: MadeDataset, still: MadeDataset) -> None:
    wrong = [
        ({"split": "4"}, "split is '4'; it must be one of 1, 2, 3, full, all"),
        ({"part": "training"}, "part is 'training'; it must be one of train, val, test, unused"),
        ({"frames": "first"}, "frames is 'first'; it must be one of middle, tsn"),
        ({"val_fraction": 0.7}, "val_fraction is 0.7; it must be a number from 0 to 0.5"),
        ({"val_fraction": "0.1"}, "val_fraction is '0.1'"),
        ({"seed": -1}, r"seed is -1; it must be a whole number, at least 0 and below 2\*\*64"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"seed": 0.5}, "seed is 0.5"),
    ]
    for options, message in wrong:
        with pytest.raises(UsageError, match=message):
            ClipDataset(made.shards, made.manifests, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"one frame a segment \(K=1\)"):
        ClipDataset(still.shards, still.manifests, frames="tsn")
    with pytest.raises(UsageError, match="the epoch is -1"):
        ClipDataset(made.shards, made.manifests).set_epoch(-1)
    for index in (slice(0, 2), "0", [0, 1]):
        with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
            ClipDataset(made.shards, made.manifests)[index]  # type: ignore[index]


def test_data_that_is_wrong(made: MadeDataset, tmp_path: Path) -> None:
    other = make_dataset(tmp_path / "other", dataset_id="e" * 64)
    with pytest.raises(DataError, match="are of another data set"):
        ClipDataset(made.shards, other.manifests)
    with pytest.raises(DataError, match=r"dataset\.json"):
        ClipDataset(made.shards, tmp_path)
    with pytest.raises(DataError, match="no shard that the manifests name"):
        ClipDataset(tmp_path, made.manifests)
    with pytest.raises(DataError, match=r"split 1 has no unused clips here \(\d+ train, \d+ val, 6 test, 0 unused\)"):
        ClipDataset(made.shards, made.manifests, part="unused")
    with pytest.raises(DataError, match="split all has no test clips"):
        ClipDataset(made.shards, made.manifests, split="all", part="test")
