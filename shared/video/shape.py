"""The shape of a stored clip: T segments of K frames, and how large they are."""

from __future__ import annotations

from dataclasses import dataclass

from shared.checks import is_whole
from shared.errors import UsageError
from shared.video.resizing import FrameSize

_MOST = 4096  # segments, and frames of one of them
FASTEST_FPS = 1000.0  # of a camera; a header that says more gives the units of its times, such as 90,000 a second


@dataclass(frozen=True, kw_only=True)
class ClipShape:
    """What is fixed of every clip of a data set. A stored clip is uint8 (T·K, H, W, 3).

    Raises UsageError where a field is none of these.
    """

    num_segments: int
    """T, from 1 to 4096: the equal parts that a video is cut into; training and evaluation take one frame of each."""
    frames_per_segment: int
    """K: the candidates that are stored of each segment; odd, up to 4095."""
    size: FrameSize | None
    """Height, width and fit of the stored frames; None where frames are stored as they are decoded."""

    def __post_init__(self) -> None:
        for name in ("num_segments", "frames_per_segment"):
            value = getattr(self, name)
            if not is_whole(value, low=1, high=_MOST):
                raise UsageError(f"{name} is {value!r}; it must be a whole number from 1 to {_MOST}")
        if self.frames_per_segment % 2 == 0:
            raise UsageError(
                f"frames_per_segment is {self.frames_per_segment}; it must be odd, so that a segment has a middle frame"
            )
        if self.size is not None and not isinstance(self.size, FrameSize):
            raise UsageError(f"size is {self.size!r}; it must be a FrameSize, or None for frames as they are decoded")

    @property
    def num_rows(self) -> int:
        """T·K, the stored frames of a clip."""
        return self.num_segments * self.frames_per_segment


DEFAULT_SHAPE = ClipShape(num_segments=16, frames_per_segment=1, size=FrameSize(height=224, width=304))
"""What `hmdb-prep extract` stores where nothing else is asked for."""
