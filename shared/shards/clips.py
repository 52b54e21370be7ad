"""The stored clips that rows of the manifests name, for who looks at all of them once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shared.shards.data_sets import check_place, open_shard
from shared.shards.places import ShardsPlace
from shared.video.sampling import evaluation_rows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredClip:
    """One clip in its shard."""

    place: int  # of its row among those asked for
    frames: npt.NDArray[np.uint8]  # (T * K, H, W, 3), mapped: read while the next clip is not yet asked for
    evaluation: npt.NDArray[np.int64]  # (T,), the frames that evaluation looks at


def clips_in_shards(
    clips: pd.DataFrame, shards: ShardsPlace, *, dataset_id: str, named: Collection[str] = ()
) -> Iterator[StoredClip]:
    """The clips of manifest rows, shard by shard, so that each shard is opened once.

    named: all shards of the manifests, where ``clips`` are only some of their rows.
    Raises DataError where a shard is absent, damaged or of another data set, or lacks the clip that a row says.
    """
    clip_ids, rows = clips["clip_id"].tolist(), clips["row"].tolist()
    named = named or set(clips["shard"])
    for name, places in clips.groupby("shard").indices.items():
        with open_shard(shards, str(name), named=named, dataset_id=dataset_id) as reader:
            layout = reader.layout
            evaluation = evaluation_rows(num_segments=layout.num_segments, frames_per_segment=layout.frames_per_segment)
            for place in map(int, places):
                check_place(reader, clip_ids[place], row=rows[place])
                yield StoredClip(place=place, frames=reader.frames[rows[place]], evaluation=evaluation)
