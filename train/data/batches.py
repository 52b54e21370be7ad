"""Which clips and which of their frames make each batch.

The order is a pure function of (seed, epoch, number of samples), the frames of (seed, epoch, clip). A batch
is cut into parts, one for each process and accumulation step, so its clips never depend on how many there
are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from shared.video.sampling import evaluation_rows, training_rows
from train.data.reader import BatchReader
from train.data.samples import Samples
from train.data.seeds import Purpose, generator

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One optimiser step: its place in the run and the positions (G,) of its clips among the samples."""

    epoch: int
    index: int
    chosen: Integers


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What one process handles at once of a batch.

    places: int64 (b,), positions in the batch. weight: float32 (b,), 0 where a clip only fills the part up.
    """

    places: Integers
    weight: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """A step with the parts of this process. frames: for each part a uint8 tensor (b, T, H, W, 3), on the
    host.
    """

    step: Step
    parts: tuple[Part, ...]
    frames: tuple[torch.Tensor, ...]


def epoch_order(num_samples: int, *, seed: int, epoch: int) -> Integers:
    """The order of the samples in an epoch: a permutation, int64 (num_samples,)."""
    return generator(Purpose.ORDER, seed, epoch).permutation(num_samples).astype(np.int64)


def num_steps(num_samples: int, *, batch_size: int) -> int:
    """Optimiser steps of an epoch; the last batch may be smaller."""
    return -(-num_samples // batch_size)


def epoch_steps(num_samples: int, *, batch_size: int, seed: int, epoch: int, first: int = 0) -> Iterator[Step]:
    """The steps of an epoch from ``first`` on."""
    order = epoch_order(num_samples, seed=seed, epoch=epoch)
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
    num_segments: int,
    frames_per_segment: int,
    tsn: bool,
    num_parts: int,
    own_parts: range,
) -> Iterator[Batch]:
    """Read the batches of some steps: of each, the parts ``own_parts`` of ``num_parts``. tsn: else middle
    frames.
    """
    middle = evaluation_rows(num_segments=num_segments, frames_per_segment=frames_per_segment)
    for step in steps:
        parts = cut_batch(len(step.chosen), num_parts=num_parts)
        own = tuple(parts[index] for index in own_parts)
        frames = []
        for part in own:
            chosen = step.chosen[part.places]
            if tsn:
                rows = training_rows(
                    samples.key[chosen],
                    seed=seed,
                    epoch=step.epoch,
                    num_segments=num_segments,
                    frames_per_segment=frames_per_segment,
                )
            else:
                rows = np.broadcast_to(middle, (len(chosen), num_segments))
            frames.append(reader.training(samples, chosen, rows))
        yield Batch(step=step, parts=own, frames=tuple(frames))
