"""From stored frames to what the model sees in evaluation: squares, resized with antialiasing. Shared with
prediction.
"""

from __future__ import annotations

import torch

from shared.errors import UsageError
from train.augment import crop_and_resize


def evaluation_views(frames: torch.Tensor, *, image_size: int, num_crops: int = 1) -> torch.Tensor:
    """uint8 (B, T, H, W, 3) -> float32 (B, S, T, 3, image_size, image_size) in [0, 1], on the device of
    ``frames``.

    S = num_crops squares of the shorter side: 1 is the centre; S > 1 spreads them evenly along the longer
    side, first and last at its ends (S = 3: left, centre, right). Raises UsageError where num_crops is below
    1.
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
