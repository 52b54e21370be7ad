"""Clip-consistent augmentation: draws on the host, pixels batched on the device.

One crop, one mirror image and one photometric change for all frames of a clip, so that motion stays motion.

The photometric change makes a clip look like another clip of the data set. Each of brightness, contrast, blur and
colourfulness is measured for every clip (the manifests hold it). The clip's own value v is moved towards a value q that
is drawn from the quantiles of the training rows: v' = v + m·(q - v) with m = min(1, strength·u), u uniform in [0, 1].
Of contrast, blur and colourfulness a crop has its own: they become v'/v times what they are in the pixels at hand.
``photometry.py`` says how the pixels get there, and where they cannot.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from train.data.photometry import change_photometry

Floats = npt.NDArray[np.float64]

CONTRAST_RANGE = (0.5, 2.0)
COLOUR_RANGE = (0.0, 2.0)
BLUR_RANGE = (1e-4, 1e4)  # the filter cannot go as far
_NUM_DRAWS = 13  # scale, ratio, top, left, flip, and (quantile, amount) for each of the four statistics


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """Measured statistics of clips, float64 (B,) each, as the manifests define them (luma in [0, 255])."""

    brightness: Floats
    contrast: Floats
    blur: Floats
    colorfulness: Floats


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """How far the geometry of a clip may change, at strength 1."""

    scale: tuple[float, float] = (0.4, 1.0)
    """Area of the crop, as a share of the largest box of its shape that fits: the least and the largest."""
    ratio: tuple[float, float] = (0.75, 1.3333)
    """Width of the crop over its height: the least and the largest."""
    hflip: float = 0.5
    """Share of the clips that are mirrored."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipChanges:
    """What is done to each clip of a batch; all but box and flip float32 (B,)."""

    box: npt.NDArray[np.int64]
    """(B, 4): top, left, height, width in stored pixels."""
    flip: npt.NDArray[np.bool_]
    """(B,)"""
    shift: npt.NDArray[np.float32]
    """What is added to the brightness, in [0, 255] units."""
    contrast: npt.NDArray[np.float32]
    """A factor, above 0."""
    colour: npt.NDArray[np.float32]
    """A factor on colourfulness."""
    blur: npt.NDArray[np.float32]
    """A factor on the variance of the Laplacian, above 0."""
    middle: npt.NDArray[np.float32]
    """The brightness about which contrast acts."""

    def part(self, rows: npt.NDArray[np.int64]) -> ClipChanges:
        """The changes of some of the clips."""
        return ClipChanges(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def photometry(self) -> torch.Tensor:
        """What the device needs to know, float32 (5, B): shift, contrast, colour, blur and middle."""
        return torch.from_numpy(np.stack([self.shift, self.contrast, self.colour, self.blur, self.middle]))


def draw_changes(
    clips: Statistics,
    *,
    training: Statistics,
    strength: Floats,
    settings: AugmentSettings,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> ClipChanges:
    """Draw what is done to B clips of the stored size: a pure function of the arguments and the generator's state.

    clips: statistics of the B clips. training: those of all training rows, for the quantiles. strength: float64 (B,),
    at least 0; 1 is the normal strength, 0 leaves the largest centred square untouched, as evaluation sees it.
    """
    draws = rng.random((len(strength), _NUM_DRAWS))
    moved = [
        _moved(own, quantiles, draws[:, 5 + 2 * i], draws[:, 6 + 2 * i], strength)
        for i, (own, quantiles) in enumerate(
            [
                (clips.brightness, training.brightness),
                (clips.contrast, training.contrast),
                (clips.blur, training.blur),
                (clips.colorfulness, training.colorfulness),
            ]
        )
    ]
    return ClipChanges(
        box=_crop_boxes(draws[:, :4], strength, settings, height=height, width=width),
        flip=draws[:, 4] < settings.hflip * np.minimum(strength, 1),
        shift=(moved[0] - clips.brightness).astype(np.float32),
        contrast=_factor(moved[1], clips.contrast, CONTRAST_RANGE).astype(np.float32),
        colour=_factor(moved[3], clips.colorfulness, COLOUR_RANGE).astype(np.float32),
        blur=_factor(moved[2], clips.blur, BLUR_RANGE).astype(np.float32),
        middle=clips.brightness.astype(np.float32),
    )


def _moved(own: Floats, training: Floats, quantile: Floats, amount: Floats, strength: Floats) -> Floats:
    target = np.quantile(training, quantile)
    moved: Floats = own + np.minimum(1, strength * amount) * (target - own)
    return moved


def _factor(moved: Floats, own: Floats, limits: tuple[float, float]) -> Floats:
    """moved / own within the limits; 1 where the clip has nothing to scale (a flat or grey picture)."""
    safe = np.where(own > 1e-6, own, 1.0)
    return np.clip(np.where(own > 1e-6, moved / safe, 1.0), *limits)


def _crop_boxes(
    draws: Floats, strength: Floats, settings: AugmentSettings, *, height: int, width: int
) -> npt.NDArray[np.int64]:
    """Boxes (B, 4): first the shape (log-uniform), then the share of the largest box of that shape, then the place."""
    bounded = np.minimum(strength, 1)
    most = 1 - (1 - settings.scale[1]) * bounded
    least = np.clip(1 - (1 - settings.scale[0]) * strength, 0.02, most)
    side = np.sqrt(least + draws[:, 0] * (most - least))
    low, high = np.log(settings.ratio)
    ratio = np.exp((low + draws[:, 1] * (high - low)) * bounded)
    full_height = np.minimum(height, width / ratio)
    box_height = np.clip(np.rint(full_height * side), 1, height).astype(np.int64)
    box_width = np.clip(np.rint(full_height * ratio * side), 1, width).astype(np.int64)
    place = 0.5 + (draws[:, 2:4] - 0.5) * bounded[:, None]
    # At strength 1 each of the height - box_height + 1 places is as likely as any other, the two at the border too.
    top = np.floor(place[:, 0] * (height - box_height + bounded)).astype(np.int64)
    left = np.floor(place[:, 1] * (width - box_width + bounded)).astype(np.int64)
    return np.stack([top, left, box_height, box_width], axis=1)


def augment(
    frames: torch.Tensor, changes: ClipChanges, *, image_size: int, photometry: torch.Tensor | None = None
) -> torch.Tensor:
    """Apply the changes: uint8 (B, T, H, W, 3) -> float32 (B, T, 3, S, S) in [0, 1], on the same device.

    photometry: ``changes.photometry()`` where it is on that device already, which spares a GPU waiting for it.
    """
    if photometry is None:
        photometry = changes.photometry().to(frames.device)
    # The CPU is five times faster clip by clip, as a clip stays in its cache; a GPU takes the batch at once.
    at_once = 1 if frames.device.type == "cpu" else len(frames)
    video = torch.empty((*frames.shape[:2], 3, image_size, image_size), dtype=torch.float32, device=frames.device)
    for start in range(0, len(frames), at_once):
        rows = np.arange(start, min(start + at_once, len(frames)))
        some = slice(start, start + at_once)
        video[some] = _augment_some(frames[some], changes.part(rows), photometry[:, some], image_size)
    return video


def _augment_some(
    frames: torch.Tensor, changes: ClipChanges, photometry: torch.Tensor, image_size: int
) -> torch.Tensor:
    clips = [
        crop_and_resize(clip, box, image_size=image_size, flip=flip)
        for clip, box, flip in zip(frames, changes.box.tolist(), changes.flip.tolist(), strict=True)
    ]
    video = torch.stack(clips).to(torch.float32)
    is_filtered = bool(np.any(changes.contrast != 1) or np.any(changes.blur != 1))
    return change_photometry(video, photometry, is_filtered=is_filtered).div_(255)


def crop_and_resize(clip: torch.Tensor, box: list[int], *, image_size: int, flip: bool) -> torch.Tensor:
    """One clip's box (top, left, height, width), bilinear with antialiasing: uint8 (T, H, W, 3) -> (T, 3, S, S).

    The result is uint8 on the CPU, where torch has a fast path for frames that lie channels last, and float32 in
    [0, 255] on other devices.
    """
    top, left, height, width = box
    pictures = clip[:, top : top + height, left : left + width].permute(0, 3, 1, 2)
    if pictures.device.type != "cpu":
        pictures = pictures.float()
    if (height, width) != (image_size, image_size):
        pictures = F.interpolate(
            pictures, size=(image_size, image_size), mode="bilinear", antialias=True, align_corners=False
        )
    return pictures.flip(-1) if flip else pictures
