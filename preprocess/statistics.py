"""What the manifest says of a clip's picture: light, sharpness, colour and motion, exact over all stored pixels.

Nothing is subsampled. On the CPU the work is arranged so that it keeps pace with the decoder: planes instead of
interleaved pixels, exact integers in float32 and int16, sums of squares of centred values.
``benchmarks/clip_statistics.py`` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

NUM_HUE_BINS = 8
_LUMA_WEIGHTS = (299.0, 587.0, 114.0)  # thousandths: Y as an integer from 0 to 255,000
_LUMA_SCALE = 1000.0
_HUE_EDGES = 0.75 * torch.arange(-1, 7)[:, None]


@dataclass(frozen=True, kw_only=True)
class ClipStatistics:
    """The statistics columns of the manifest, in its order.

    Y = 0.299 R + 0.587 G + 0.114 B and all of RGB lie in [0, 255]. "Per frame" means: measured in each frame, then
    averaged. brightness: mean of Y. brightness_std: population standard deviation of the frames' brightness. contrast:
    population standard deviation of Y, per frame. blur: variance of the Laplacian of Y, per frame; higher is sharper.
    colorfulness: Hasler and Süsstrunk 2003, per frame. red, green, blue: mean and population standard deviation over
    all pixels. saturation_mean: HSV saturation in [0, 1], mean over all pixels. hue_hist: 8 bins of 45 degrees, each
    pixel weighted by its saturation, sum 1 (all 0 for a grey clip). motion: mean absolute difference of Y between
    adjacent frames, 0 for a single frame.
    """

    brightness: float
    brightness_std: float
    contrast: float
    blur: float
    colorfulness: float
    red_mean: float
    green_mean: float
    blue_mean: float
    red_std: float
    green_std: float
    blue_std: float
    saturation_mean: float
    hue_hist_0: float
    hue_hist_1: float
    hue_hist_2: float
    hue_hist_3: float
    hue_hist_4: float
    hue_hist_5: float
    hue_hist_6: float
    hue_hist_7: float
    motion: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sums:
    """What is summed over the pixels of each frame, float64, as means: (T, 3) for R, G, B, (T,) for the rest.

    rg = R - G and yb = R + G - 2B are the opponent colours of Hasler and Süsstrunk, the second one doubled.
    weight_above: (T, 9), the mean of the weight d/mx over pixels with num/d >= 0.75·k for k = -inf, -1, 0, .. 6.
    step: (T - 1,), the mean of |Y_{t+1} - Y_t|.
    """

    rgb_mean: npt.NDArray[np.float64]
    rgb_variance: npt.NDArray[np.float64]
    luma_variance: npt.NDArray[np.float64]
    rg_variance: npt.NDArray[np.float64]
    yb_variance: npt.NDArray[np.float64]
    laplacian_variance: npt.NDArray[np.float64]
    weight_above: npt.NDArray[np.float64]
    step: npt.NDArray[np.float64]


def measure_clip(frames: Tensor) -> ClipStatistics:
    """Measure uint8 RGB frames (T, H, W, 3), T, H, W >= 1, on any device and in any memory layout.

    A border of the Laplacian is mirrored without repeating the edge; a side of one pixel repeats it, as OpenCV does.
    Raises ValueError where shape or type are others.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames are {frames.dtype} {tuple(frames.shape)}, expected uint8 (T, H, W, 3)")
    return _statistics_from(_sums_on_cpu(frames) if frames.device.type == "cpu" else _sums_anywhere(frames))


def _statistics_from(sums: _Sums) -> ClipStatistics:
    luma_mean = sums.rgb_mean @ np.array(_LUMA_WEIGHTS) / _LUMA_SCALE
    rg_mean = sums.rgb_mean @ np.array([1.0, -1.0, 0.0])
    yb_mean = sums.rgb_mean @ np.array([0.5, 0.5, -1.0])
    spread = np.sqrt(sums.rg_variance + sums.yb_variance / 4)
    colorfulness = spread + 0.3 * np.hypot(rg_mean, yb_mean)
    rgb_std = np.sqrt(sums.rgb_variance.mean(axis=0) + sums.rgb_mean.var(axis=0))
    red, green, blue = sums.rgb_mean.mean(axis=0).tolist()
    red_std, green_std, blue_std = rgb_std.tolist()
    hue = _hue_histogram(sums.weight_above.mean(axis=0))
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
        hue_hist_0=hue[0],
        hue_hist_1=hue[1],
        hue_hist_2=hue[2],
        hue_hist_3=hue[3],
        hue_hist_4=hue[4],
        hue_hist_5=hue[5],
        hue_hist_6=hue[6],
        hue_hist_7=hue[7],
        motion=float(sums.step.mean()) if len(sums.step) else 0.0,
    )


def _hue_histogram(weight_above: npt.NDArray[np.float64]) -> list[float]:
    """Bins 0..7 from the weights above the lower edges of bins -2 .. 6; -2 and -1 are bins 6 and 7 of the circle."""
    bins = weight_above - np.append(weight_above[1:], 0.0)
    histogram = np.array([*bins[2:8], bins[8] + bins[0], bins[1]]).clip(min=0.0)
    total = histogram.sum()
    return [float(share) for share in (histogram / total if total else histogram)]


def _sums_on_cpu(frames: Tensor) -> _Sums:
    num_frames, height, width, _ = frames.shape
    num_pixels = height * width
    # One set of buffers for all frames: fresh memory for each frame would cost more than the arithmetic.
    channels = torch.empty((3, num_pixels), dtype=torch.uint8)
    integers = torch.empty((8, num_pixels), dtype=torch.int16)
    floats = torch.empty((10, num_pixels))
    lumas = torch.empty((2, num_pixels))  # of this frame and of the one before
    rgb, work = floats[:3], floats[3]
    planes = channels.numpy().reshape(3, height, width)
    pictures = frames.numpy().transpose(0, 3, 1, 2)
    centre = centre_before = 0.0
    colour, hue, laplacian, step = [], [], [], []
    for t in range(num_frames):
        luma, luma_before = lumas[t % 2], lumas[(t + 1) % 2]
        np.copyto(planes, pictures[t])  # five times as fast as torch's copy
        rgb_centre, moments = _colour_moments(channels, rgb, luma, work)
        centre_before, centre = centre, float(rgb_centre @ np.array(_LUMA_WEIGHTS))
        colour.append(moments)
        laplacian.append(_laplacian_variance(luma.view(height, width), work.view(height, width)))
        if t > 0:
            torch.sub(luma, luma_before, out=work)
            step.append(float(work.add_(centre - centre_before).abs_().sum()))
        hue.append(_weights_above(channels, integers, floats))
    return _Sums(
        rgb_mean=np.array([moments[:3] for moments in colour]),
        rgb_variance=np.array([moments[3:6] for moments in colour]),
        luma_variance=np.array([moments[6] for moments in colour]),
        rg_variance=np.array([moments[7] for moments in colour]),
        yb_variance=np.array([moments[8] for moments in colour]),
        laplacian_variance=np.array(laplacian),
        weight_above=np.array(hue) / num_pixels,
        step=np.array(step) / num_pixels / _LUMA_SCALE,
    )


def _colour_moments(
    plane: Tensor, rgb: Tensor, luma: Tensor, work: Tensor
) -> tuple[npt.NDArray[np.float64], list[float]]:
    """The whole numbers that R, G, B were centred by, and moments: means of R, G, B; variances of R, G, B, Y, rg, yb.

    plane: uint8 (3, N). Leaves the centred R, G, B in rgb, float32 (3, N), the centred Y in thousandths in luma (N,).
    Centred by whole numbers near the mean, all values are exact integers in float32 and squares do not cancel.
    """
    num_pixels = plane.shape[1]
    rgb.copy_(plane)
    rgb_centre = (rgb.sum(dim=1) / num_pixels).round_()
    rgb.sub_(rgb_centre[:, None])
    red, green, blue = rgb
    torch.mul(red, _LUMA_WEIGHTS[0], out=luma).add_(green, alpha=_LUMA_WEIGHTS[1]).add_(blue, alpha=_LUMA_WEIGHTS[2])
    offset = rgb.sum(dim=1).numpy().astype(np.float64) / num_pixels
    squares = [float(torch.dot(values, values)) / num_pixels for values in (red, green, blue, luma)]
    torch.sub(red, green, out=work)
    squares.append(float(torch.dot(work, work)) / num_pixels)
    torch.add(red, green, out=work).sub_(blue, alpha=2.0)
    squares.append(float(torch.dot(work, work)) / num_pixels)
    combinations = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), _LUMA_WEIGHTS, (1, -1, 0), (1, 1, -2)], dtype=np.float64)
    variances = np.maximum(np.array(squares) - (combinations @ offset) ** 2, 0.0)
    variances[3] /= _LUMA_SCALE**2
    centre = rgb_centre.numpy().astype(np.float64)
    return centre, [*(centre + offset).tolist(), *variances.tolist()]


def _weights_above(plane: Tensor, integers: Tensor, floats: Tensor) -> list[float]:
    """Sums of the saturation d/mx over pixels from each hue edge on; plane: uint8 (3, N).

    integers, int16 (8, N), and floats, float32 (10, N), are overwritten.

    The bin is (4·num // (3·d)) mod 8, so bin >= k means num/d >= 0.75·k: in float32 that is exact, because two such
    fractions differ by at least 1/(4·255). Where d is 0 the quotient is not a number, reaches no edge and weighs 0.
    """
    red, green, blue, largest, spread, other, num, is_largest = integers
    integers[:3].copy_(plane)
    torch.maximum(red, green, out=largest)
    torch.maximum(largest, blue, out=largest)
    torch.minimum(red, green, out=spread)
    torch.minimum(spread, blue, out=spread)
    torch.sub(largest, spread, out=spread)
    torch.sub(red, green, out=num).add_(spread, alpha=4)
    torch.sub(blue, red, out=other).add_(spread, alpha=2)
    num.addcmul_(torch.eq(green, largest, out=is_largest), other.sub_(num))
    torch.sub(green, blue, out=other).sub_(num)
    num.addcmul_(torch.eq(red, largest, out=is_largest), other)
    place, weight, reached = floats[0], floats[1], floats[2:]
    place.copy_(num).div_(weight.copy_(spread))
    weight.div_(reached[0].copy_(largest.clamp_(min=1)))
    torch.ge(place, _HUE_EDGES, out=reached)
    return [float(weight.sum()), *torch.mv(reached, weight).tolist()]


def _laplacian_variance(luma: Tensor, work: Tensor) -> float:
    """Variance of the Laplacian; luma and work: float32 (H, W), luma in thousandths (and so exact integers)."""
    height, width = luma.shape
    torch.mul(luma, -4.0, out=work)
    work[1:] += luma[:-1]
    work[:-1] += luma[1:]
    work[:, 1:] += luma[:, :-1]
    work[:, :-1] += luma[:, 1:]
    work[0] += luma[min(1, height - 1)]
    work[-1] += luma[max(height - 2, 0)]
    work[:, 0] += luma[:, min(1, width - 1)]
    work[:, -1] += luma[:, max(width - 2, 0)]
    values = work.view(-1)
    mean = float(values.sum()) / values.numel()
    return max(float(torch.dot(values, values)) / values.numel() - mean**2, 0.0) / _LUMA_SCALE**2


def _sums_anywhere(frames: Tensor) -> _Sums:
    """The same in float64, written plainly, for devices other than the CPU."""
    red, green, blue = (frames[..., channel].to(torch.float64) for channel in range(3))
    luma = (red * _LUMA_WEIGHTS[0] + green * _LUMA_WEIGHTS[1] + blue * _LUMA_WEIGHTS[2]) / _LUMA_SCALE
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
