"""What has to be done to the frames of a clip before a trained model sees them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from shared.video.shape import ClipShape
from train.data.views import evaluation_views


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From the frames of clips to the input of a model; called with frames, it does it."""

    shape: ClipShape
    """Of the clips, one frame a segment: what ``decode_clip`` needs to know beside the video."""
    image_size: int
    """Side of the model's picture in pixels."""

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Clips uint8 (B, T, H, W, 3), or one (T, H, W, 3) -> float32 (B, T, 3, S, S), or (T, 3, S, S), in [0, 1].

        The centre square of the shorter side, scaled to the side S: what evaluation and prediction do. On the device of
        the frames. The model itself subtracts the mean and divides by the standard deviation.
        """
        clips = frames if frames.ndim == 5 else frames[None]
        views = evaluation_views(clips, image_size=self.image_size)[:, 0]
        return views if frames.ndim == 5 else views[0]
