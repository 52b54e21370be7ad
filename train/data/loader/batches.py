"""Which clips and which of their frames make each batch.

The order is a pure function of (seed, epoch, number of samples) and, where shards are read in turn, of the shards they
are in; the frames of (seed, epoch, clip). A batch is cut
into parts, one for each process and accumulation step: its clips never depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from shared.video.sampling import evaluation_rows, training_rows
from train.data.loader.reader import BatchReader
from train.data.samples import Samples
from train.data.seeds import Purpose, generator

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One optimiser step and the G clips of its batch."""

    epoch: int
    """From 0."""
    index: int
    """Its number within the epoch, from 0."""
    chosen: Integers
    """The places of its clips among the samples, int64 (G,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """The b clips of a batch that one process handles at once."""

    places: Integers
    """Which clips of the batch, int64 (b,)."""
    weight: npt.NDArray[np.float32]
    """float32 (b,): 1, or 0 where a clip only fills the part up."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What one process reads for a step."""

    step: Step
    parts: tuple[Part, ...]
    frames: tuple[torch.Tensor, ...]
    """Of each part a tensor uint8 (b, T, H, W, 3), on the host."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Turns:
    """Shards that are read in turn, for disks that cannot seek and copies that take time."""

    shard: Integers
    """The number of the shard of each sample, int64 (num_samples,)."""
    at_once: int
    """How many shards are shuffled together, at least 1."""


def epoch_order(num_samples: int, *, seed: int, epoch: int, turns: Turns | None = None) -> Integers:
    """The order of the samples in an epoch: a permutation, int64 (num_samples,).

    With turns the shards are shuffled and taken ``at_once`` together; in each such group the samples come in random
    order. Where one group holds all shards it is the order without turns.
    """
    random = generator(Purpose.ORDER, seed, epoch)
    order = random.permutation(num_samples).astype(np.int64)
    if turns is None:
        return order
    group = random.permutation(int(turns.shard.max()) + 1) // turns.at_once
    return order[np.argsort(group[turns.shard[order]], kind="stable")]


def num_steps(num_samples: int, *, batch_size: int) -> int:
    """Optimiser steps of an epoch; the last batch may be smaller."""
    return -(-num_samples // batch_size)


def epoch_steps(
    num_samples: int, *, batch_size: int, seed: int, epoch: int, first: int = 0, turns: Turns | None = None
) -> Iterator[Step]:
    """The steps of an epoch from ``first`` on."""
    order = epoch_order(num_samples, seed=seed, epoch=epoch, turns=turns)
    for index in range(first, num_steps(num_samples, batch_size=batch_size)):
        yield Step(epoch=epoch, index=index, chosen=order[index * batch_size : (index + 1) * batch_size])


def cut_batch(num_clips: int, *, num_parts: int) -> list[Part]:
    """Cut a batch into equal parts of whole pairs (2i, 2i+1), which MixUp and CutMix mix.

    Parts are filled up with clips of weight 0, so that every process does the same number of equal steps.
    """
    num_pairs = -(-num_clips // 2)
    size = 2 * -(-num_pairs // num_parts)
    places = np.arange(size * num_parts, dtype=np.int64)
    weight = (places < num_clips).astype(np.float32)
    places = np.minimum(places, num_clips - 1)
    return [
        Part(places=places[start : start + size], weight=weight[start : start + size])
        for start in range(0, len(places), size)
    ]


def training_batches(
    reader: BatchReader,
    samples: Samples,
    steps: Iterable[Step],
    *,
    seed: int,
    tsn: bool,
    num_parts: int,
    own_parts: range,
) -> Iterator[Batch]:
    """Read the batches of some steps; of each batch, cut into ``num_parts``, the parts ``own_parts`` alone.

    tsn: one frame of each segment at random, otherwise its middle frame.
    """
    num_segments, frames_per_segment = reader.layout.num_segments, reader.layout.frames_per_segment
    middle = evaluation_rows(num_segments=num_segments, frames_per_segment=frames_per_segment)

    def rows_of(chosen: Integers, epoch: int) -> Integers:
        if not tsn:
            return np.broadcast_to(middle, (len(chosen), num_segments))
        keys = samples.key[chosen]
        return training_rows(
            keys, seed=seed, epoch=epoch, num_segments=num_segments, frames_per_segment=frames_per_segment
        )

    for step in steps:
        own = tuple(cut_batch(len(step.chosen), num_parts=num_parts)[own_parts.start : own_parts.stop])
        shown = [step.chosen[part.places] for part in own]
        frames = tuple(reader.training(samples, chosen, rows_of(chosen, step.epoch)) for chosen in shown)
        yield Batch(step=step, parts=own, frames=frames)
