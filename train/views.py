"""Views of a clip: C temporal candidates times S spatial crops, whose probabilities are averaged."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.errors import UsageError

_MOST_VIEWS = 99


@dataclass(frozen=True, kw_only=True)
class Views:
    """num_candidates C: clips of different frames of the same segments. num_crops S: 1 centre, 3 left/centre/right."""

    num_candidates: int = 1
    num_crops: int = 1

    def __str__(self) -> str:
        return f"{self.num_candidates}x{self.num_crops}"


def parse_views(text: str) -> Views:
    """Read ``CxS``, such as 1x1 or 3x3. Raises UsageError for anything else."""
    match = re.fullmatch(r"([1-9]\d?)[xX]([1-9]\d?)", text)
    if match is None:
        raise UsageError(
            f"--views is {text!r}; write CANDIDATESxCROPS such as 1x1, 1x3 or 3x3, each from 1 to {_MOST_VIEWS}"
        )
    return Views(num_candidates=int(match[1]), num_crops=int(match[2]))


def candidate_rows(views: Views, *, num_segments: int, frames_per_segment: int) -> npt.NDArray[np.int64]:
    """Rows of each of the C clips among the T·K stored frames: int64 (C, T).

    Clip i takes candidate ((2i + 1)·K) // (2C) of every segment: evenly spread, all of them for C = K, the middle one
    for C = 1. Raises UsageError where C is larger than K.
    """
    count = views.num_candidates
    if count > frames_per_segment:
        raise UsageError(
            f"--views {views} asks for {count} candidates of a segment, the shards of this run hold "
            f"{frames_per_segment}; use --views {frames_per_segment}x{views.num_crops}, "
            f"or extract with --frames-per-segment {count + 1 - count % 2} and train anew"
        )
    candidates = (2 * np.arange(count, dtype=np.int64) + 1) * frames_per_segment // (2 * count)
    return candidates[:, None] + np.arange(num_segments, dtype=np.int64) * frames_per_segment
