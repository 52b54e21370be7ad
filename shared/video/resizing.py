"""From decoded frames to the stored size: crop, squash or pad, always antialiased. Training and prediction share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from shared.checks import is_whole
from shared.errors import UsageError

if TYPE_CHECKING:
    import torch

Fit = Literal["crop", "squash", "pad"]
_LARGEST_SIDE = 65536  # videos are stored at up to 8192, or as they are


@dataclass(frozen=True, kw_only=True)
class FrameSize:
    """The stored height and width in pixels, and how a picture of another shape is fitted into it.

    Raises UsageError where a side is no whole number from 1 to 65536, or fit is none of crop, squash and pad.
    """

    height: int
    width: int
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        for name, side in (("height", self.height), ("width", self.width)):
            if not is_whole(side, low=1, high=_LARGEST_SIDE):
                raise UsageError(f"{name} is {side!r}; it must be a whole number from 1 to {_LARGEST_SIDE}")
        if self.fit not in get_args(Fit):
            raise UsageError(f"fit is {self.fit!r}; it must be one of {', '.join(get_args(Fit))}")


def parse_size(text: str, *, fit: str) -> FrameSize | None:
    """Read ``HxW``, ``N`` (N by N) or ``native`` (None: frames are stored as decoded)."""
    if fit not in get_args(Fit):
        raise UsageError(f"--fit is {fit!r}; it must be one of {', '.join(get_args(Fit))}")
    if text == "native":
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() and 1 <= int(part) <= 8192 for part in parts):
        raise UsageError(f"--size is {text!r}; write HEIGHTxWIDTH such as 224x304, one number for a square, or native")
    return FrameSize(height=int(parts[0]), width=int(parts[-1]), fit=fit)  # type: ignore[arg-type]


def scaled_size(height: int, width: int, size: FrameSize) -> tuple[int, int]:
    """The (height, width) to which a picture is scaled before it is cropped or padded to ``size``.

    crop: the smallest of the same shape that covers ``size``; pad: the largest that lies in it; rounded half up.
    """
    if size.fit == "squash":
        return size.height, size.width
    fill_width = (width * size.height <= height * size.width) == (size.fit == "crop")
    if fill_width:
        return max(1, (2 * height * size.width + width) // (2 * width)), size.width
    return size.height, max(1, (2 * width * size.height + height) // (2 * height))


def resize_frames(frames: torch.Tensor, size: FrameSize | None) -> torch.Tensor:
    """Fit uint8 frames (n, H, W, 3) into ``size``: uint8 (n, h, w, 3), contiguous. None leaves them as they are.

    Bilinear with antialiasing. crop keeps the centre, pad puts the picture in the centre of black.
    """
    if size is None or tuple(frames.shape[1:3]) == (size.height, size.width):
        return frames.contiguous()
    height, width = scaled_size(frames.shape[1], frames.shape[2], size)
    scaled = _interpolate(frames, height, width)
    if size.fit == "pad":
        top, left = (size.height - height) // 2, (size.width - width) // 2
        padded = frames.new_zeros((len(frames), size.height, size.width, 3))
        padded[:, top : top + height, left : left + width] = scaled
        return padded
    top, left = (height - size.height) // 2, (width - size.width) // 2
    return scaled[:, top : top + size.height, left : left + size.width].contiguous()


def _interpolate(frames: torch.Tensor, height: int, width: int) -> torch.Tensor:
    import torch  # here, because the size alone is read by commands that must answer at once
    import torch.nn.functional as F

    # Frames lie as (n, H, W, 3) in memory: permuted they are channels_last, for which torch has a fast uint8 path.
    pictures = frames.permute(0, 3, 1, 2)
    if frames.device.type != "cpu":  # only the CPU interpolates uint8 with antialiasing
        pictures = pictures.float()
    scaled = F.interpolate(pictures, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    if scaled.dtype != torch.uint8:
        scaled = scaled.round_().clamp_(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1)
