"""What the manifest says of a clip's picture: light, sharpness, colour and motion, exact over all stored pixels.

No pixel is left out. On the CPU they are summed by compiled loops (``pixel_sums.py``); on a GPU, and where numba is
absent, by torch in float64. ``benchmarks/clip_statistics.py`` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.video.luma import LUMA_THOUSANDTHS

_LUMA_SCALE = 1000.0
# R, G, B, Y in thousandths, and the opponent colours R - G and R + G - 2B.
_COMBINATIONS = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), LUMA_THOUSANDTHS, (1, -1, 0), (1, 1, -2)], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class ClipStatistics:
    """The statistics columns of the manifest, in its order.

    Y = 0.299 R + 0.587 G + 0.114 B, and R, G, B, Y lie in [0, 255]. "Per frame" means: measured in each frame, then
    averaged over the frames. Standard deviations and variances are those of a population.
    """

    brightness: float
    """The mean of Y."""
    brightness_std: float
    """The standard deviation, over the frames, of their brightness."""
    contrast: float
    """The standard deviation of Y, per frame."""
    blur: float
    """The variance of the Laplacian of Y, per frame; the higher, the sharper."""
    colorfulness: float
    """The measure of Hasler and Süsstrunk 2003, per frame."""
    red_mean: float
    green_mean: float
    blue_mean: float
    """The means over all pixels of all frames."""
    red_std: float
    green_std: float
    blue_std: float
    """The standard deviations over all pixels of all frames."""
    saturation_mean: float
    """The mean of HSV's saturation, in [0, 1], over all pixels."""
    hue_hist_0: float
    hue_hist_1: float
    hue_hist_2: float
    hue_hist_3: float
    hue_hist_4: float
    hue_hist_5: float
    hue_hist_6: float
    hue_hist_7: float
    """Eight bins of 45 degrees of hue, each pixel weighted by its saturation. Their sum is 1, or 0 for a grey clip."""
    motion: float
    """The mean of |Y_{t+1} - Y_t| over all pixels of adjacent frames; 0 for a single frame."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sums:
    """What both ways of summing give: means and variances over the pixels of each frame, float64."""

    rgb_mean: npt.NDArray[np.float64]
    """(T, 3) of R, G and B, as is rgb_variance."""
    rgb_variance: npt.NDArray[np.float64]
    luma_variance: npt.NDArray[np.float64]
    """(T,) of Y."""
    rg_variance: npt.NDArray[np.float64]
    """(T,) of R - G, an opponent colour of Hasler and Süsstrunk."""
    yb_variance: npt.NDArray[np.float64]
    """(T,) of R + G - 2B, twice their other one."""
    laplacian_variance: npt.NDArray[np.float64]
    """(T,) of the Laplacian of Y."""
    weight_above: npt.NDArray[np.float64]
    """(T, 9): the mean of the saturation over all pixels, then over those whose hue is at or above each of eight
    edges, from -45 degrees in steps of 45. Differences of neighbours are the bins of the histogram."""
    step: npt.NDArray[np.float64]
    """(T - 1,): the mean of |Y_{t+1} - Y_t|."""


def measure_clip(frames: Tensor) -> ClipStatistics:
    """Measure uint8 RGB frames (T, H, W, 3), T, H, W >= 1, on any device and in any memory layout.

    For the Laplacian the picture is mirrored at its borders without repeating the edge; a side of one pixel repeats it,
    as OpenCV does. Raises ValueError for another shape or type.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames are {frames.dtype} {tuple(frames.shape)}, expected uint8 (T, H, W, 3)")
    return _statistics_from(_sums_on_cpu(frames) if frames.device.type == "cpu" else _sums_anywhere(frames))


def _statistics_from(sums: _Sums) -> ClipStatistics:
    luma_mean = sums.rgb_mean @ np.array(LUMA_THOUSANDTHS) / _LUMA_SCALE
    rg_mean = sums.rgb_mean @ np.array([1.0, -1.0, 0.0])
    yb_mean = sums.rgb_mean @ np.array([0.5, 0.5, -1.0])
    spread = np.sqrt(sums.rg_variance + sums.yb_variance / 4)
    colorfulness = spread + 0.3 * np.hypot(rg_mean, yb_mean)
    rgb_std = np.sqrt(sums.rgb_variance.mean(axis=0) + sums.rgb_mean.var(axis=0))
    red, green, blue = sums.rgb_mean.mean(axis=0).tolist()
    red_std, green_std, blue_std = rgb_std.tolist()
    hue = {f"hue_hist_{index}": share for index, share in enumerate(_hue_histogram(sums.weight_above.mean(axis=0)))}
    return ClipStatistics(
        brightness=float(luma_mean.mean()),
        brightness_std=float(luma_mean.std()),
        contrast=float(np.sqrt(sums.luma_variance).mean()),
        blur=float(sums.laplacian_variance.mean()),
        colorfulness=float(colorfulness.mean()),
        red_mean=red,
        green_mean=green,
        blue_mean=blue,
        red_std=red_std,
        green_std=green_std,
        blue_std=blue_std,
        saturation_mean=float(sums.weight_above[:, 0].mean()),
        motion=float(sums.step.mean()) if len(sums.step) else 0.0,
        **hue,
    )


def _hue_histogram(weight_above: npt.NDArray[np.float64]) -> list[float]:
    """The bins 0 to 7 from the mean ``weight_above`` (9,).

    Its differences are the bins -2 to 6: hue is measured from -60 to 300 degrees. On the circle bin -2 belongs to bin
    6 and bin -1 is bin 7.
    """
    bins = weight_above - np.append(weight_above[1:], 0.0)
    histogram = np.array([*bins[2:8], bins[8] + bins[0], bins[1]]).clip(min=0.0)
    total = histogram.sum()
    return [float(share) for share in (histogram / total if total else histogram)]


def _sums_on_cpu(frames: Tensor) -> _Sums:
    try:
        from preprocess.extract.pixel_sums import sum_pixels
    except ImportError:  # no numba for this Python or processor: the same numbers, many times slower
        return _sums_anywhere(frames)
    num_pixels = frames.shape[1] * frames.shape[2]
    sums = sum_pixels(frames.numpy())
    variances = _variances(sums.moments, num_pixels)
    laplacian = sums.laplacian / num_pixels
    return _Sums(
        rgb_mean=sums.moments[:, :3] / num_pixels,
        rgb_variance=variances[:, :3],
        luma_variance=variances[:, 3] / _LUMA_SCALE**2,
        rg_variance=variances[:, 4],
        yb_variance=variances[:, 5],
        laplacian_variance=np.maximum(laplacian[:, 1] - laplacian[:, 0] ** 2, 0.0) / _LUMA_SCALE**2,
        weight_above=sums.above / num_pixels,
        step=sums.step / num_pixels / _LUMA_SCALE,
    )


def _variances(moments: npt.NDArray[np.float64], num_pixels: int) -> npt.NDArray[np.float64]:
    """Population variances (T, 6) of ``_COMBINATIONS`` from the sums of R, G, B, RR, GG, BB, RG, RB, GB (T, 9).

    The sums are whole numbers and are combined before they are divided, so that grey has no trace of colour.
    """
    products = moments[:, [[3, 6, 7], [6, 4, 8], [7, 8, 5]]]  # (T, 3, 3)
    squares = np.einsum("ki,tij,kj->tk", _COMBINATIONS, products, _COMBINATIONS) / num_pixels
    means = moments[:, :3] @ _COMBINATIONS.T / num_pixels
    result: npt.NDArray[np.float64] = np.maximum(squares - means**2, 0.0)
    return result


def _sums_anywhere(frames: Tensor) -> _Sums:
    """The same by torch in float64, on any device."""
    red, green, blue = (frames[..., channel].to(torch.float64) for channel in range(3))
    luma = (red * LUMA_THOUSANDTHS[0] + green * LUMA_THOUSANDTHS[1] + blue * LUMA_THOUSANDTHS[2]) / _LUMA_SCALE
    rgb = torch.stack((red, green, blue), dim=1).flatten(2)
    largest = rgb.amax(dim=1)
    spread = largest - rgb.amin(dim=1)
    red, green, blue = rgb.unbind(1)
    num = torch.where(green == largest, blue - red + 2 * spread, red - green + 4 * spread)
    place = torch.where(red == largest, green - blue, num) / spread.clamp(min=1)
    weight = spread / largest.clamp(min=1)
    above = [weight.mean(1)] + [(weight * (place >= 0.75 * edge)).mean(1) for edge in range(-1, 7)]
    (above_row, below_row), (left_column, right_column) = (_neighbours(side, luma.device) for side in luma.shape[1:])
    vertical = luma[:, above_row] + luma[:, below_row]
    laplacian = vertical + luma[:, :, left_column] + luma[:, :, right_column] - 4 * luma

    def variance(values: Tensor) -> npt.NDArray[np.float64]:
        return np.asarray(values.flatten(1).var(dim=1, correction=0).cpu().numpy(), dtype=np.float64)

    return _Sums(
        rgb_mean=rgb.mean(2).cpu().numpy(),
        rgb_variance=rgb.var(dim=2, correction=0).cpu().numpy(),
        luma_variance=variance(luma),
        rg_variance=variance(red - green),
        yb_variance=variance(red + green - 2 * blue),
        laplacian_variance=variance(laplacian),
        weight_above=torch.stack(above, dim=1).cpu().numpy(),
        step=luma.diff(dim=0).abs().flatten(1).mean(1).cpu().numpy(),
    )


def _neighbours(length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Indices of the neighbour before and after each position of a side, mirrored at its ends."""
    index = torch.arange(length, device=device)
    before, after = (index - 1).abs(), length - 1 - (length - 2 - index).abs()
    return before.clamp(0, length - 1), after.clamp(0, length - 1)
