"""Luma Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), the one weighting of this project."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

LUMA_THOUSANDTHS = (299, 587, 114)  # of whole pixels Y is a whole number of thousandths, from 0 to 255,000
LUMA_WEIGHTS = (0.299, 0.587, 0.114)


def luma_of_array(frames: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Y of RGB (..., 3): float32 (...), in the units of the input."""
    luma: npt.NDArray[np.float32] = frames.astype(np.float32, copy=False) @ np.array(LUMA_WEIGHTS, dtype=np.float32)
    return luma


def luma_of_tensor(video: torch.Tensor) -> torch.Tensor:
    """Y of RGB (..., 3, h, w), float: (..., 1, h, w), in the units of the input."""
    red, green, blue = (video.narrow(-3, channel, 1) for channel in range(3))
    weights = LUMA_WEIGHTS
    return (red * weights[0]).add_(green, alpha=weights[1]).add_(blue, alpha=weights[2])
