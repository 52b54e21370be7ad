"""The clips of an extraction through PyTorch's DataLoader, as users' programs read them: part of benchmarks.loader."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.clips_on_disk import Extracted
from benchmarks.timing import Results, take_turns
from train.data.clip_dataset import ClipDataset, collate
from train.data.loader.prefetch import prefetched

DOOR, STACKED, AHEAD = "ClipDataset, collate", "ClipDataset, stacked", "ClipDataset, prefetched"
WORKERS, BARE = "ClipDataset, 2 workers", "bare DataLoader, 2 workers"
_TITLE = "warm, in a DataLoader"


def compare_doors(
    results: Results, place: Extracted, ours: Callable[[], object], *, name: str, options: argparse.Namespace
) -> None:
    """The same clips without workers and with them. ours, name: the trainer's own reader, which is the reference."""
    loader = partial(_loader, place, batch_size=options.batch_size)
    ahead = loader()
    turns: dict[str, Callable[[], object]] = {
        name: ours,
        DOOR: partial(_read_through, loader()),
        STACKED: partial(_read_through, loader(ours=False)),
        AHEAD: lambda: _read_through(prefetched(ahead)),
    }
    num_clips = len(loader().dataset)
    times = take_turns(turns, rounds=3 * options.rounds)
    results.add_rates(_TITLE, times, units=num_clips, unit="clips", reference=name)
    results.add_target(f"{_TITLE}: time of this project's own", results.ratio(_TITLE, name, to=DOOR), most=1.3)
    made = _Made(place, batch_size=options.batch_size, num_batches=-(-num_clips // options.batch_size))
    bare: DataLoader[object] = DataLoader(made, batch_size=None, num_workers=2, persistent_workers=True)
    workers = loader(num_workers=2)
    turns = {name: ours, WORKERS: partial(_read_through, workers), BARE: partial(_read_through, bare)}
    times = take_turns(turns, rounds=options.rounds)
    title = f"{_TITLE} with workers"
    results.add_rates(title, times, units=num_clips, unit="clips", reference=name, with_cpu=False)


def _loader(place: Extracted, *, batch_size: int, num_workers: int = 0, ours: bool = True) -> DataLoader[object]:
    """All clips in random order; workers stay. ours: with ``collate``, else as DataLoader stacks by itself."""
    return DataLoader(
        ClipDataset(place.shards, place.manifests, split="all", val_fraction=0),
        batch_size=batch_size,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=collate if ours else None,
    )


class _Made(Dataset[object]):
    """Copies of a batch that is there already: what handing batches over costs where nothing is read."""

    def __init__(self, place: Extracted, *, batch_size: int, num_batches: int) -> None:
        clip, _ = ClipDataset(place.shards, place.manifests, split="all", val_fraction=0)[0]
        self._batch, self._num_batches = torch.stack([clip] * batch_size), num_batches

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> object:
        return self._batch.clone()


def _read_through(loader: Iterable[object]) -> None:
    for batch in loader:
        del batch
