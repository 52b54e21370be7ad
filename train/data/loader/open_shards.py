"""The shards that a reader is using: opened when a clip of theirs is wanted, and no more than a bound at once."""

from __future__ import annotations

import resource
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.errors import DataError
from shared.shards.data_sets import check_place, check_present, open_shard
from shared.shards.format import ShardLayout
from shared.shards.places import RemoteShards, ShardsPlace
from shared.shards.reader import FramesPlace
from shared.shards.remote import copy_ahead

Frames = npt.NDArray[np.uint8]
MOST_OPEN = 512
_OTHER_FILES = 256  # of torch, TensorBoard, sockets


def files_allowed(count: int) -> int:
    """How many of ``count`` mapped shards may be open; the limit of open files is raised for them, as far as may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return count
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if needed > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        except (ValueError, OSError):  # macOS says that there is no limit, and has one
            needed = soft
    return max(1, needed - _OTHER_FILES)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Mapped:
    place: FramesPlace
    frames: Frames


class OpenShards:
    """Frames of the shards of some clips, mapped into memory. Safe for several threads.

    clips: of each shard, by its name, the clip_ids and rows that have to be in it. named: all shards of the manifests.
    Of shards in a folder as many as may be open are opened, and so checked, at once; of the others it is seen that they
    are there, and they are checked when they are opened. Of shards at an address one is copied.
    Raises DataError, now or later, where a shard is missing, damaged, of another data set or of another size than the
    first, or lacks a clip.
    """

    def __init__(
        self,
        shards: ShardsPlace,
        clips: Mapping[str, Sequence[tuple[str, int]]],
        *,
        dataset_id: str,
        named: Collection[str],
        most: int = MOST_OPEN,
    ) -> None:
        self._shards = shards
        self._clips = clips
        self._dataset_id = dataset_id
        self._named = named
        self._most = files_allowed(min(len(clips), most))
        self._lock = threading.Lock()
        self._places: dict[str, FramesPlace] = {}
        self._mapped: OrderedDict[str, _Mapped] = OrderedDict()
        self._layout: ShardLayout | None = None
        check_present(shards, list(clips), named=named, dataset_id=dataset_id)
        for name in sorted(clips)[: 1 if isinstance(shards, RemoteShards) else self._most]:
            self.frames(name)

    @property
    def layout(self) -> ShardLayout:
        """What all shards share."""
        assert self._layout is not None  # the first one is open from the start
        return self._layout

    def frames(self, name: str) -> Frames:
        """The frames of a shard, uint8 (N, T·K, H, W, 3); they stay valid when the shard is closed.

        To be asked for before each reading. Raises DataError where the file has changed since it was checked.
        """
        with self._lock:
            mapped = self._mapped.get(name)
            if mapped is not None:
                self._mapped.move_to_end(name)
        if mapped is not None and mapped.place.is_unchanged():
            return mapped.frames
        mapped = self._map(name)
        with self._lock:
            self._mapped[name] = mapped
            self._mapped.move_to_end(name)
            while len(self._mapped) > self._most:
                self._mapped.popitem(last=False)
        return mapped.frames

    def _map(self, name: str) -> _Mapped:
        place = self._places.get(name)
        is_copy = isinstance(self._shards, RemoteShards)
        if place is not None:
            try:
                return _Mapped(place=place, frames=place.map())
            except DataError:
                if not is_copy:  # a copy may have been deleted
                    raise
        if is_copy:
            self._let_go_of_deleted()
        mapped = self._checked(name)
        self._places[name] = mapped.place
        return mapped

    def _checked(self, name: str) -> _Mapped:
        """Open a shard as a whole, hold it against the others and the clips that it should hold, and close it."""
        with open_shard(self._shards, name, named=self._named, dataset_id=self._dataset_id) as reader:
            with self._lock:
                self._layout = self._layout or reader.layout
            if reader.layout != self._layout:
                sizes = sorted({(layout.height, layout.width) for layout in (self._layout, reader.layout)})
                listed = ", ".join(f"{height}x{width}" for height, width in sizes)
                raise DataError(
                    f"{self._shards} holds clips of several sizes ({listed}); extract with a fixed --size to train"
                )
            for clip_id, row in self._clips[name]:
                check_place(reader, clip_id, row=row)
            return _Mapped(place=reader.place, frames=reader.frames)

    def copy_ahead(self, name: str, *, keep: Collection[str]) -> None:
        """Make the copy of a shard at an address before it is wanted, where there is room beside those of ``keep``."""
        assert isinstance(self._shards, RemoteShards)
        copy_ahead(self._shards, name, dataset_id=self._dataset_id, keep=keep)
        self._let_go_of_deleted()

    def _let_go_of_deleted(self) -> None:
        """Close copies that were deleted to make room: until then they take up the disk."""
        with self._lock:
            for name in [name for name, mapped in self._mapped.items() if not mapped.place.is_unchanged()]:
                del self._mapped[name]

    def close(self) -> None:
        """Let go of all mappings."""
        with self._lock:
            self._mapped.clear()
