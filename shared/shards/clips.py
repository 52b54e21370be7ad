"""The stored clips that rows of the manifests name, for who looks at all of them once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shared.errors import DataError
from shared.shards.reader import ShardReader
from shared.video.sampling import evaluation_rows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredClip:
    """One clip in its shard."""

    place: int  # of its row among those asked for
    frames: npt.NDArray[np.uint8]  # (T * K, H, W, 3), mapped: read while the next clip is not yet asked for
    evaluation: npt.NDArray[np.int64]  # (T,), the frames that evaluation looks at


def clips_in_shards(clips: pd.DataFrame, shards: Path, *, dataset_id: str) -> Iterator[StoredClip]:
    """The clips of manifest rows, shard by shard, so that each shard is opened once.

    Raises DataError where a shard is absent, damaged or of another data set, or lacks the clip that a row says.
    """
    clip_ids, rows = clips["clip_id"].tolist(), clips["row"].tolist()
    for name, places in clips.groupby("shard").indices.items():
        with ShardReader(shards / str(name)) as reader:
            layout = reader.layout
            if layout.dataset_id != dataset_id:
                raise DataError(f"{reader.path} is of another data set than the manifests; name others with --shards")
            evaluation = evaluation_rows(num_segments=layout.num_segments, frames_per_segment=layout.frames_per_segment)
            for place in map(int, places):
                if not reader.holds(clip_ids[place], row=rows[place]):
                    raise DataError(
                        f"{reader.path} does not hold {clip_ids[place]} in row {rows[place]}; run `hmdb-prep merge`"
                    )
                yield StoredClip(place=place, frames=reader.frames[rows[place]], evaluation=evaluation)
