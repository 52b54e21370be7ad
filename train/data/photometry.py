"""Light, contrast, sharpness and colour of clips, changed so that the manifest's four measures reach wanted values.

With Y the luma of a pixel, G the 3x3 binomial filter and m the clip's brightness, a pixel becomes

    RGB' = m + shift + c·(Y + a·(G(Y) - Y) - m) + k·(RGB - Y)

- brightness changes by ``shift``, as the filter keeps the mean;
- colourfulness (Hasler and Süsstrunk) knows only differences of channels, in which luma cancels out: it becomes k times
  what it was, and nothing else changes with k;
- contrast and blur depend on each other: c² scales the variance of the Laplacian too, and the filter takes contrast
  away. Both are quadratic in a, with coefficients that are measured in the clip: a follows from their ratio, c from a.

What limits it: a stays in ``FILTER_RANGE`` (1 is the filter alone, -1 twice the picture less the filtered one), so a
much sharper or more blurred picture is approached and not reached, while contrast still is; contrast that the filter
takes away is given back up to ``MOST_REGAINED`` times (fine stripes lose all of it); and pixels are clipped to [0, 255]
at the end, which takes contrast and colour from a very bright, dark or vivid picture.
"""

from __future__ import annotations

import torch

from shared.video.luma import luma_of_tensor

FILTER_RANGE = (-2.0, 1.0)
MOST_REGAINED = 4.0
_FLAT = 1e-3  # a variance below this is that of a flat picture: neither filter nor factor can raise it


def change_photometry(video: torch.Tensor, changes: torch.Tensor, *, is_filtered: bool = True) -> torch.Tensor:
    """Change float32 RGB (B, T, 3, h, w) in [0, 255] in place, each clip by itself, and return it.

    changes: float32 (5, B) on the same device: shift, in pixel values; the factors that contrast, colourfulness and the
    variance of the Laplacian are to change by; m. is_filtered: False where both contrast and blur are 1 throughout.
    """
    shift, contrast, colour, blur, middle = changes[..., None, None, None, None]
    luma = luma_of_tensor(video)
    changed = luma
    if is_filtered:
        smooth = _binomial(luma)
        amount, contrast = _solve(luma, smooth, contrast=contrast, blur=blur)
        changed = torch.lerp(luma, smooth, amount)
    # First what the three channels have in common, so that they are gone through once.
    common = (changed * contrast).sub_(luma * colour).add_(middle * (1 - contrast) + shift)
    return video.mul_(colour).add_(common).clamp_(0, 255)


def _solve(
    luma: torch.Tensor, smooth: torch.Tensor, *, contrast: torch.Tensor, blur: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The amount a and the factor c, (B, 1, 1, 1, 1) each, that make contrast and blur the wanted multiples.

    luma, smooth: (B, T, 1, h, w), plain and filtered.
    """
    spread, detail = _variances(luma, smooth), _variances(_laplacian(luma), _laplacian(smooth))
    mean_spread, mean_detail = spread.mean(dim=1), detail.mean(dim=1)
    is_flat = (mean_spread[:, 0] < _FLAT) | (mean_detail[:, 0] < _FLAT)
    # The ratio of detail to spread is to become blur / contrast² times what it is at a = 0: p·a² + 2·q·a + r = 0.
    ratio = (blur / contrast**2).flatten() * mean_detail[:, 0] / mean_spread[:, 0].clamp(min=_FLAT)
    r, q, p = (mean_detail - ratio[:, None] * mean_spread).unbind(1)
    square = q**2 - p * r
    amount = r / (square.clamp(min=0).sqrt() - q).clamp(min=1e-12)
    lowest, highest = FILTER_RANGE
    amount = torch.where(square < 0, torch.where(r > 0, highest, lowest), amount).clamp(lowest, highest)
    amount = torch.where(is_flat, 0.0, amount)
    powers = torch.stack([torch.ones_like(amount), 2 * amount, amount**2], dim=1)
    before = spread[:, :, 0].sqrt().mean(dim=1)
    after = (spread * powers[:, None]).sum(dim=2).clamp(min=0).sqrt().mean(dim=1)
    kept = torch.where(is_flat, 1.0, (before / after.clamp(min=_FLAT)).clamp(max=MOST_REGAINED))
    return amount.view(contrast.shape), contrast * kept.view(contrast.shape)


def _variances(plain: torch.Tensor, filtered: torch.Tensor) -> torch.Tensor:
    """The variance within each frame of plain + a·(filtered - plain), as coefficients of 1, 2·a and a²: (B, T, 3)."""
    change = (filtered - plain).flatten(2)
    change -= change.mean(dim=2, keepdim=True)
    plain = plain.flatten(2)
    plain = plain - plain.mean(dim=2, keepdim=True)
    products = (plain * plain, plain * change, change * change)
    return torch.stack([product.mean(dim=2) for product in products], dim=2)


def _laplacian(luma: torch.Tensor) -> torch.Tensor:
    """The Laplacian [[0, 1, 0], [1, -4, 1], [0, 1, 0]] of (..., h, w), the border mirrored without its edge."""
    result = luma * -4
    for axis in (-1, -2):
        last = luma.shape[axis] - 1
        result.narrow(axis, 1, last).add_(luma.narrow(axis, 0, last))
        result.narrow(axis, 0, last).add_(luma.narrow(axis, 1, last))
        result.narrow(axis, 0, 1).add_(luma.narrow(axis, min(1, last), 1))
        result.narrow(axis, last, 1).add_(luma.narrow(axis, max(last - 1, 0), 1))
    return result


def _binomial(luma: torch.Tensor) -> torch.Tensor:
    """The 3x3 binomial filter ([1, 2, 1]/4 along each axis) of (..., h, w), the border repeated."""
    for axis in (-1, -2):
        last = luma.shape[axis] - 1
        filtered = luma * 0.5
        filtered.narrow(axis, 1, last).add_(luma.narrow(axis, 0, last), alpha=0.25)
        filtered.narrow(axis, 0, last).add_(luma.narrow(axis, 1, last), alpha=0.25)
        filtered.narrow(axis, 0, 1).add_(luma.narrow(axis, 0, 1), alpha=0.25)
        filtered.narrow(axis, last, 1).add_(luma.narrow(axis, last, 1), alpha=0.25)
        luma = filtered
    return luma
