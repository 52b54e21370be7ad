"""The reader of training data: clips out of memory-mapped shards, into uint8 batches, several threads side by side."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from shared.shards.places import RemoteShards, ShardsPlace
from train.data.loader.memory import ReusedMemory
from train.data.loader.open_shards import OpenShards
from train.data.samples import ClipTable, Samples, shard_numbers

Integers = npt.NDArray[np.int64]
Frames = npt.NDArray[np.uint8]


def blend(anchor: Frames, neighbor: Frames, lam: float) -> Frames:
    """floor((1 - lam)·anchor + lam·neighbour + 0.5) of two uint8 arrays of one shape, in float64.

    Only IEEE additions and multiplications of single elements: the same on every machine.
    """
    mixed = np.multiply(anchor, 1.0 - lam, dtype=np.float64)
    mixed += np.multiply(neighbor, lam, dtype=np.float64)
    mixed += 0.5
    return mixed.astype(np.uint8)  # truncation is floor here: nothing is negative


class ClipReader:
    """The shards of some clips of a data set, mapped into memory. Reading is safe from several threads.

    shards: their folder or address. named: all shards of the manifests, where ``table`` is only some of their rows.
    Raises DataError where a shard is missing, of another data set or without a clip that the manifests put there, and
    where clips differ in size; of more shards than may be open, and of those at an address, later: see ``OpenShards``.
    """

    def __init__(self, shards: ShardsPlace, table: ClipTable, *, dataset_id: str, named: Collection[str] = ()) -> None:
        self._table = table
        self.is_remote = isinstance(shards, RemoteShards)
        """Whether the shards lie at an address and are copied when they are wanted."""
        clips: dict[str, list[tuple[str, int]]] = {}
        for clip_id, shard, row in zip(table.clip_id, table.shard, table.row.tolist(), strict=True):
            clips.setdefault(shard, []).append((clip_id, row))
        self._shards = OpenShards(shards, clips, dataset_id=dataset_id, named=named or list(clips))
        self.layout = self._shards.layout

    def read(self, clip: int, rows: Integers, out: Frames) -> None:
        """Copy the rows (T,) of a clip into ``out``, uint8 (T, H, W, 3). Raises DataError where its shard changed."""
        frames = self._shards.frames(self._table.shard[clip])
        # One call a clip, during which other threads run; with mode="raise" NumPy would copy twice.
        np.take(frames[self._table.row[clip]], rows, axis=0, out=out, mode="clip")

    def suitable_order(self, clips: Integers) -> Integers:
        """In which order to read some clips, as places in ``clips``: as they are, but those at an address by shard."""
        if not self.is_remote:
            return np.arange(len(clips))
        return np.argsort(shard_numbers(self._table)[clips], kind="stable")

    def copy_ahead(self, name: str, *, keep: Collection[str]) -> None:
        """As ``OpenShards.copy_ahead``."""
        self._shards.copy_ahead(name, keep=keep)

    def close(self) -> None:
        """Let go of the mappings."""
        self._shards.close()


class BatchReader:
    """Reads the clips of a batch with a pool of threads into one tensor, in pinned memory where a GPU will take it."""

    def __init__(self, reader: ClipReader, *, num_threads: int, pinned: bool) -> None:
        self.layout = reader.layout
        self.is_remote = reader.is_remote
        self._reader = reader
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="read-clip")
        self._pinned = pinned
        self._memory = ReusedMemory()

    def suitable_order(self, clips: Integers) -> Integers:
        """As that of the ``ClipReader``."""
        return self._reader.suitable_order(clips)

    def copy_ahead(self, name: str, *, keep: Collection[str]) -> None:
        """As that of the ``ClipReader``."""
        self._reader.copy_ahead(name, keep=keep)

    def evaluation(self, clips: Integers, rows: Integers) -> torch.Tensor:
        """The same rows (T,) of some clips, those of a view: uint8 (b, T, H, W, 3)."""
        frames = self._room(len(clips))
        views = frames.numpy()
        list(self._pool.map(lambda place: self._reader.read(int(clips[place]), rows, views[place]), range(len(clips))))
        return frames

    def training(self, samples: Samples, chosen: Integers, rows: Integers) -> torch.Tensor:
        """Some samples with the rows (b, T) given for each, synthetic ones blended: uint8 (b, T, H, W, 3)."""
        frames = self._room(len(chosen))
        views = frames.numpy()

        def read(place: int) -> None:
            sample, out = chosen[place], views[place]
            self._reader.read(int(samples.clip[sample]), rows[place], out)
            if samples.neighbor[sample] >= 0:
                other = np.empty_like(out)
                self._reader.read(int(samples.neighbor[sample]), rows[place], other)
                for anchor, neighbor in zip(out, other, strict=True):  # frame by frame: stays in the cache
                    anchor[:] = blend(anchor, neighbor, float(samples.lam[sample]))

        list(self._pool.map(read, range(len(chosen))))
        return frames

    def _room(self, num_clips: int) -> torch.Tensor:
        shape = (num_clips, self.layout.num_segments, self.layout.height, self.layout.width, 3)
        if self._pinned:  # torch keeps pinned memory and hands it out again by itself
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        return self._memory.take(shape)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)
