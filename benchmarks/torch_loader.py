"""The clips of an extraction through PyTorch's DataLoader, as users' programs read them: part of benchmarks.loader."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from torch.utils.data import DataLoader

from benchmarks.clips_on_disk import Extracted
from benchmarks.timing import Results, take_turns
from train.data.clip_dataset import ClipDataset, collate

DOOR, STACKED, WORKERS = "ClipDataset, collate", "ClipDataset, stacked", "ClipDataset, 2 workers"
_TITLE = "warm, in a DataLoader"


def compare_doors(
    results: Results, place: Extracted, ours: Callable[[], object], *, name: str, options: argparse.Namespace
) -> None:
    """The same clips without workers and with them. ours, name: the trainer's own reader, which is the reference."""
    loader = partial(_loader, place, batch_size=options.batch_size)
    turns: dict[str, Callable[[], object]] = {
        name: ours,
        DOOR: partial(_read_through, loader()),
        STACKED: partial(_read_through, loader(ours=False)),
    }
    num_clips = len(loader().dataset)
    times = take_turns(turns, rounds=3 * options.rounds)
    results.add_rates(_TITLE, times, units=num_clips, unit="clips", reference=name)
    results.add_target(f"{_TITLE}: time of this project's own", results.ratio(_TITLE, name, to=DOOR), most=1.3)
    times = take_turns({name: ours, WORKERS: partial(_read_through, loader(num_workers=2))}, rounds=options.rounds)
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


def _read_through(loader: DataLoader[object]) -> None:
    for batch in loader:
        del batch
