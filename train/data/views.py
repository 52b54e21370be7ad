"""Views of a clip: C temporal candidates times S spatial crops, whose probabilities are averaged."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from shared.errors import UsageError
from train.data.augment import crop_and_resize

_MOST_VIEWS = 99


@dataclass(frozen=True, kw_only=True)
class Views:
    """How many views of a clip there are: C·S."""

    num_candidates: int = 1
    """C: clips made of different frames of the same segments."""
    num_crops: int = 1
    """S: 1 is the centre, 3 left, centre and right."""

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


def evaluation_views(frames: torch.Tensor, *, image_size: int, num_crops: int = 1) -> torch.Tensor:
    """uint8 (B, T, H, W, 3) -> float32 (B, S, T, 3, image_size, image_size) in [0, 1], on the same device.

    The S = num_crops squares have the shorter side. One lies in the centre; several are spread evenly along the longer
    side, the first and the last at its ends. Raises UsageError where num_crops is below 1.
    """
    if num_crops < 1:
        raise UsageError(f"the number of crops is {num_crops}; it must be at least 1")
    height, width = frames.shape[2], frames.shape[3]
    boxes = square_boxes(height, width, num_crops=num_crops)
    views = [
        torch.stack([crop_and_resize(clip, box, image_size=image_size, flip=False) for box in boxes]) for clip in frames
    ]
    return torch.stack(views).to(torch.float32).div_(255)


def square_boxes(height: int, width: int, *, num_crops: int) -> list[list[int]]:
    """The crops as [top, left, side, side] in pixels; offsets are rounded down."""
    side = min(height, width)
    room = max(height, width) - side
    offsets = [room // 2] if num_crops == 1 else [room * i // (num_crops - 1) for i in range(num_crops)]
    return [[offset, 0, side, side] if height > width else [0, offset, side, side] for offset in offsets]
