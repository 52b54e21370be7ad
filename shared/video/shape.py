"""The shape of a stored clip: T segments of K frames, and how large they are."""

from __future__ import annotations

from dataclasses import dataclass

from shared.video.resizing import FrameSize

FASTEST_FPS = 1000.0  # of a camera; a header that says more gives the units of its times, such as 90,000 a second


@dataclass(frozen=True, kw_only=True)
class ClipShape:
    """What is fixed of every clip of a data set. A stored clip is uint8 (T·K, H, W, 3)."""

    num_segments: int
    """T: the equal parts that a video is cut into; training and evaluation take one frame of each."""
    frames_per_segment: int
    """K: the candidates that are stored of each segment; odd."""
    size: FrameSize | None
    """Height, width and fit of the stored frames; None where frames are stored as they are decoded."""

    @property
    def num_rows(self) -> int:
        """T·K, the stored frames of a clip."""
        return self.num_segments * self.frames_per_segment


DEFAULT_SHAPE = ClipShape(num_segments=16, frames_per_segment=1, size=FrameSize(height=224, width=304))
"""What `hmdb-prep extract` stores where nothing else is asked for."""
