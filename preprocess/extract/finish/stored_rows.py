"""The manifest rows that a shard holds of its clips, and whether the rest of the shard agrees with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.errors import DataError, UsageError
from shared.manifests.files import ClipRow, row_from_json
from shared.shards.format import ShardLayout
from shared.shards.reader import ShardReader
from shared.terminal.console import counted
from shared.video.sampling import candidate_frames


def stored_rows(reader: ShardReader) -> tuple[ClipRow, ...]:
    """The rows, in the order of the clips. Raises DataError, which names the shard, where one is damaged."""
    try:
        return tuple(row_from_json(text) for text in reader.manifest)
    except DataError as error:
        raise DataError(f"{reader.path}: {error}; delete it and run `hmdb-prep extract` again") from error


def contradictions(reader: ShardReader, rows: Sequence[ClipRow]) -> list[str]:
    """What the shard says of clips otherwise than their ``rows``, a text for each clip. No frames are read.

    Frame numbers follow from the number of frames (``candidate_frames``), so they must be those of the row's.
    """
    found = []
    for index, row in enumerate(rows):
        stored = reader.clip_id[index], int(reader.label[index]), int(reader.crc32[index]), index
        if stored != (row.clip_id, row.label, row.crc32, row.row):
            found.append(f"row {index} ({row.clip_id}) contradicts its manifest row")
        elif not _are_sampled(reader.frame_index[index], row.num_frames, reader.layout):
            frames = counted(row.num_frames, "frame")
            found.append(f"row {index} ({row.clip_id}): its frame_index is not that of a video of {frames}")
    return found


def _are_sampled(frame_index: npt.NDArray[np.int32], num_frames: int, layout: ShardLayout) -> bool:
    """Whether these are the frames of a clip; False also for numbers that no clip can have."""
    segments, candidates = layout.num_segments, layout.frames_per_segment
    try:
        expected = candidate_frames(num_frames, num_segments=segments, frames_per_segment=candidates)
    except (ValueError, OverflowError, UsageError):
        return False
    return np.array_equal(frame_index, expected)
