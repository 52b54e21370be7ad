"""MixUp (Zhang et al. 2018) and CutMix (Yun et al. 2019) on whole clips: one share and one box a clip.

Clip 2i is mixed with clip 2i+1 of the same batch and the other way round. As the order of the clips is random, so is
the partner; and pairs stay together however a batch is cut over processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True, kw_only=True)
class MixSettings:
    """How often and how much clips are mixed."""

    mixup: float = 0.0
    """The alpha of Beta(alpha, alpha); 0 is off."""
    cutmix: float = 0.0
    """The same for CutMix."""
    prob: float = 1.0
    """Share of the clips that are mixed."""
    switch_prob: float = 0.5
    """Share of CutMix among them, where both are on."""

    @property
    def is_on(self) -> bool:
        return (self.mixup > 0 or self.cutmix > 0) and self.prob > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class MixDraws:
    """How each clip is mixed with its partner."""

    own: npt.NDArray[np.float32]
    """The share of the clip itself, (B,); 1 is unmixed."""
    box: npt.NDArray[np.int64]
    """(B, 4): top, left, height, width of the partner's part in the picture; zeros where all of it is blended."""

    def part(self, rows: npt.NDArray[np.int64]) -> MixDraws:
        """The draws of some of the clips."""
        return MixDraws(own=self.own[rows], box=self.box[rows])


def draw_mix(
    settings: MixSettings, *, may_mix: npt.NDArray[np.bool_], image_size: int, rng: np.random.Generator
) -> MixDraws:
    """Draw how B clips are mixed. may_mix: bool (B,); a pair mixes only if both may, an odd last clip never does."""
    num_clips = len(may_mix)
    chance, switch = rng.random(num_clips), rng.random(num_clips)
    place = rng.random((num_clips, 2))
    mixup_share = rng.beta(settings.mixup, settings.mixup, num_clips) if settings.mixup > 0 else np.ones(num_clips)
    cutmix_share = rng.beta(settings.cutmix, settings.cutmix, num_clips) if settings.cutmix > 0 else np.ones(num_clips)
    if settings.mixup > 0 and settings.cutmix > 0:
        cut = switch < settings.switch_prob
    else:
        cut = np.full(num_clips, settings.cutmix > 0)
    mixed = (
        (chance < settings.prob)
        & may_mix
        & may_mix[partners(num_clips)]
        & (partners(num_clips) != np.arange(num_clips))
    )
    box = np.where((mixed & cut)[:, None], _cut_boxes(cutmix_share, place, image_size), 0)
    area_share = 1 - box[:, 2] * box[:, 3] / image_size**2
    own = np.where(mixed, np.where(cut, area_share, mixup_share), 1.0)
    return MixDraws(own=own.astype(np.float32), box=box)


def partners(num_clips: int) -> npt.NDArray[np.int64]:
    """Each clip's partner: its neighbour in the pair (2i, 2i+1); an odd last clip is its own."""
    rows = np.arange(num_clips, dtype=np.int64)
    other: npt.NDArray[np.int64] = np.minimum(rows ^ 1, num_clips - 1)
    return other


def _cut_boxes(
    share: npt.NDArray[np.float64], place: npt.NDArray[np.float64], image_size: int
) -> npt.NDArray[np.int64]:
    """Boxes of (1 - share) of the area around a uniform centre, cut at the border (Yun et al. 2019, section 3.1)."""
    side = image_size * np.sqrt(1 - share)
    start = np.clip(np.rint(place * image_size - side[:, None] / 2), 0, image_size)
    stop = np.clip(np.rint(place * image_size + side[:, None] / 2), 0, image_size)
    return np.concatenate([start, stop - start], axis=1).astype(np.int64)


def mix_clips(
    video: torch.Tensor, targets: torch.Tensor, *, own: torch.Tensor, box: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix (B, T, 3, S, S) and the soft targets (B, classes) with their partners; both come back in new tensors.

    own float32 (B,) and box int64 (B, 4) are those of MixDraws, on the device of the video.
    """
    order = (torch.arange(len(video), device=video.device) ^ 1).clamp_max_(len(video) - 1)  # as `partners`
    top, left, height, width = (box[:, i].view(-1, 1, 1, 1, 1) for i in range(4))
    rows = torch.arange(video.shape[3], device=video.device).view(-1, 1)
    columns = torch.arange(video.shape[4], device=video.device)
    inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    is_cut = (height > 0) & (width > 0)
    weight = torch.where(is_cut, (~inside).to(video.dtype), own.view(-1, 1, 1, 1, 1).to(video.dtype))
    return torch.lerp(video[order], video, weight), torch.lerp(
        targets[order], targets, own.view(-1, 1).to(targets.dtype)
    )
