"""The stored clips of one part of a split as a data set for PyTorch's DataLoader: for models of one's own."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, default_collate, get_worker_info

from shared.checks import is_whole
from shared.errors import DataError, UsageError
from shared.manifests.files import read_dataset, read_manifests
from shared.shards.format import ShardLayout
from shared.splits.parts import Part, part_of, train_and_val
from shared.video.sampling import clip_key, evaluation_rows, training_rows
from train.data.columns import columns_of_split
from train.data.loader.lent_memory import LentMemory, lendable, lent_memory
from train.data.loader.memory import ReusedMemory
from train.data.loader.reader import ClipReader
from train.data.samples import make_table

if TYPE_CHECKING:
    import pandas as pd

FrameChoice = Literal["middle", "tsn"]
Transform = Callable[[torch.Tensor], Any]
_READING_THREADS = 2
_CPU = torch.device("cpu")
_SPLITS = ("1", "2", "3", "full", "all")
_PARTS: tuple[Part, ...] = get_args(Part)
_CHOICES: tuple[FrameChoice, ...] = get_args(FrameChoice)


class ClipDataset(Dataset[tuple[Any, int]]):
    """The clips of one part of a split, sorted by clip_id: item i is (frames, label).

    frames: uint8 (T, H, W, 3) RGB, or what ``transform`` makes of it; label: int, its place in ``classes``.

    shards, manifests: the folders that `hmdb-prep extract` wrote.
    split: 1, 2, 3, full, or all (every clip; it has no test part).
    part: ``train``, ``val``, ``test`` or ``unused``, as `lsvit-train run` has them. ``val`` is what the split itself
    names so; a split that names none sets whole sources aside of its training clips, about ``val_fraction`` of them,
    always the same ones, and ``train`` is the rest. With val_fraction=0 nothing is set aside.
    frames: ``middle`` takes the middle one of each segment's K stored frames, as evaluation does. ``tsn`` takes one of
    them at random (Wang et al. 2016), by the same pure function of (seed, epoch, clip) as `lsvit-train run`. It needs
    K > 1, and ``set_epoch`` before each epoch.

    It can be pickled and used in any number of processes, each of which maps the shards anew, and with several threads.
    Raises UsageError where an argument is none of these; DataError where the part is empty, where a shard is missing,
    damaged or of another data set than the manifests, and where clips differ in size.
    """

    def __init__(
        self,
        shards: Path | str,
        manifests: Path | str,
        *,
        split: str | int = "1",
        part: Part = "train",
        frames: FrameChoice = "middle",
        transform: Transform | None = None,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        _check(split=str(split), part=part, frames=frames, seed=seed, val_fraction=val_fraction)
        dataset = read_dataset(Path(manifests))
        everything = read_manifests(Path(manifests), columns=columns_of_split(str(split)))
        clips = _choose(everything, split=str(split), part=part, val_fraction=val_fraction)
        self.classes = dataset.class_names
        self._shards, self._dataset_id = Path(shards).absolute(), dataset.dataset_id
        self._table, self._named = make_table(clips), frozenset(everything["shard"])
        self._transform, self._seed = transform, seed
        self._tsn = frames == "tsn"
        self._epoch: torch.Tensor = torch.zeros((), dtype=torch.int64)
        if self._tsn:  # workers that stay learn of it
            self._epoch.share_memory_()  # type: ignore[no-untyped-call]
        self._keys = np.array([clip_key(clip_id) for clip_id in self.clip_ids], dtype=np.uint64)
        self._opened: _Opened | None = self._open()
        if self._tsn and self._opened.reader.layout.frames_per_segment == 1:
            raise UsageError(
                "frames is 'tsn', but the shards hold one frame a segment (K=1): there is nothing to choose; "
                "extract with --frames-per-segment 3, or use frames='middle'"
            )

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """The name of each clip, ``<class>/<name>``: that of its row in the manifests."""
        return self._table.clip_id

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The label of each clip, int64 (N,), for samplers that weigh classes."""
        return self._table.label

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass is, from 0: ``tsn`` chooses by it, and ``middle`` ignores it.

        Workers of a DataLoader learn of it too, also those that stay (``persistent_workers=True``). To be called
        between two passes.
        """
        if epoch < 0:
            raise UsageError(f"the epoch is {epoch}; epochs count from 0")
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.__getitems__([range(len(self))[operator.index(index)]])[
            0
        ]  # the range raises the IndexError that ends a loop

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        """The items of a batch, which DataLoader asks for at once: parts of one piece of memory."""
        if self._opened is None or self._opened.process != os.getpid():
            self._opened = self._open()
        opened = self._opened
        layout = opened.reader.layout
        batch = opened.memory.take((len(indices), layout.num_segments, layout.height, layout.width, 3))
        places, rows = np.asarray(indices, dtype=np.int64), self._rows(indices, layout)
        list(opened.threads.map(opened.reader.read, places.tolist(), rows, batch.numpy()))
        transform = self._transform or (lambda frames: frames)
        return [(transform(frames), label) for frames, label in zip(batch, self.labels[places].tolist(), strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}  # another process maps the shards itself

    def _open(self) -> _Opened:
        reader = ClipReader(self._shards, self._table, dataset_id=self._dataset_id, named=self._named)
        threads = ThreadPoolExecutor(_READING_THREADS, thread_name_prefix="read-clip")
        memory = ReusedMemory() if get_worker_info() is None else lent_memory()
        return _Opened(process=os.getpid(), reader=reader, memory=memory, threads=threads)

    def _rows(self, indices: Sequence[int], layout: ShardLayout) -> npt.NDArray[np.int64]:
        """The rows (b, T) that are shown of the T·K stored frames of some clips."""
        num_segments, frames_per_segment = layout.num_segments, layout.frames_per_segment
        if not self._tsn:
            middle = evaluation_rows(num_segments=num_segments, frames_per_segment=frames_per_segment)
            return np.broadcast_to(middle, (len(indices), num_segments))
        return training_rows(
            self._keys[indices],
            seed=self._seed,
            epoch=int(self._epoch),
            num_segments=num_segments,
            frames_per_segment=frames_per_segment,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Opened:
    """What one process holds of the shards."""

    process: int
    """Its number."""
    reader: ClipReader
    memory: ReusedMemory | LentMemory
    threads: ThreadPoolExecutor


def collate(items: Sequence[tuple[Any, int]]) -> Any:
    """The batch of some items of a ``ClipDataset``, for DataLoader's ``collate_fn``: frames, labels int64 (B,).

    frames: uint8 (B, T, H, W, 3). Where the dataset transforms nothing the clips lie in one piece of memory already,
    and none is copied; a worker lends it to the process that asks, for as long as that looks at it. Tensors that a
    worker's transform made are stacked into such memory. Otherwise this is ``torch.utils.data.default_collate``.
    """
    clips = [clip for clip, _ in items]
    frames = _in_one_piece(clips)
    if frames is None and get_worker_info() is not None:
        frames = _stacked(clips)
    if frames is None:
        return default_collate(list(items))
    return [lendable(frames), torch.tensor([label for _, label in items], dtype=torch.int64)]


def _in_one_piece(clips: Sequence[Any]) -> torch.Tensor | None:
    """Tensors of one shape as one, without a copy, where they lie in memory one behind the other; else None."""
    first = clips[0]
    if not all(isinstance(clip, torch.Tensor) and clip.is_contiguous() for clip in clips):
        return None
    if not all(
        clip.shape == first.shape
        and clip.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        and clip.storage_offset() == first.storage_offset() + place * first.numel()
        for place, clip in enumerate(clips)
    ):
        return None
    stacked: torch.Tensor = first.as_strided((len(clips), *first.shape), (first.numel(), *first.stride()))
    return stacked


def _stacked(clips: Sequence[Any]) -> torch.Tensor | None:
    """Tensors of one shape and type copied into memory that is lent; None where they are something else."""
    first = clips[0]
    if not all(
        isinstance(clip, torch.Tensor) and (clip.shape, clip.dtype, clip.device) == (first.shape, first.dtype, _CPU)
        for clip in clips
    ):
        return None
    shape = (len(clips), *first.shape)
    room = lent_memory().take((math.prod(shape) * first.element_size(),))
    return torch.stack(list(clips), out=room.view(first.dtype).view(shape))


def _check(*, split: str, part: str, frames: str, seed: object, val_fraction: object) -> None:
    """Raise UsageError where an argument has no such value."""
    for name, value, allowed in (("split", split, _SPLITS), ("part", part, _PARTS), ("frames", frames, _CHOICES)):
        if value not in allowed:
            raise UsageError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
    if not is_whole(seed, low=0, high=2**64 - 1):
        raise UsageError(f"seed is {seed!r}; it must be a whole number, at least 0 and below 2**64")
    if not isinstance(val_fraction, Real) or not 0 <= float(val_fraction) <= 0.5:
        raise UsageError(f"val_fraction is {val_fraction!r}; it must be a number from 0 to 0.5")


def _choose(everything: pd.DataFrame, *, split: str, part: Part, val_fraction: float) -> pd.DataFrame:
    """The manifest rows of one part of a split. Raises DataError where there are none."""
    training, validation = train_and_val(everything, split=split, val_fraction=val_fraction)
    chosen = {"train": training, "val": validation}
    for other in ("test", "unused"):
        chosen[other] = everything[:0] if split == "all" else part_of(everything, split=split, part=other)
    if chosen[part].empty:
        counts = ", ".join(f"{len(clips)} {name}" for name, clips in chosen.items())
        raise DataError(f"split {split} has no {part} clips here ({counts}); use another split or part")
    return chosen[part]
