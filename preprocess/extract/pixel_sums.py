"""Sums over all pixels of a frame, compiled by numba: plain loops, row by row, at the speed of C.

Pixels are whole numbers, and so are their sums, which are exact. Only a pixel's saturation is a fraction, summed in
float64. The loops are compiled once, in some two seconds, and cached beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import float64, int32, int64

from shared.machine.compiled import compiled
from shared.video.luma import LUMA_THOUSANDTHS

NUM_MOMENTS = 9
NUM_EDGES = 8
_RED, _GREEN, _BLUE = LUMA_THOUSANDTHS


@compiled("void(int32[:, ::1], int32[::1], float64[::1])", loosened=True)
def _add_moments(row: Any, luma: Any, moments: Any) -> None:
    """Take one row (3, W): write its luma (W + 2,), mirrored at both ends, and add to moments (9,).

    32 bits are enough, and faster than 64: they hold the sum of the squares of 33,000 pixels.
    """
    width = row.shape[1]
    r = g = b = rr = gg = bb = rg = rb = gb = int32(0)
    for x in range(width):
        red, green, blue = row[0, x], row[1, x], row[2, x]
        luma[x + 1] = _RED * red + _GREEN * green + _BLUE * blue
        r, g, b = int32(r + red), int32(g + green), int32(b + blue)
        rr, gg, bb = int32(rr + red * red), int32(gg + green * green), int32(bb + blue * blue)
        rg, rb, gb = int32(rg + red * green), int32(rb + red * blue), int32(gb + green * blue)
    for place, value in enumerate((r, g, b, rr, gg, bb, rg, rb, gb)):
        moments[place] += value
    luma[0], luma[width + 1] = luma[min(2, width)], luma[max(width - 1, 1)]


@compiled("void(int32[:, ::1], float64[::1])", loosened=True)
def _add_hues(row: Any, above: Any) -> None:
    """Take one row (3, W): add to above (9,) its saturation, in all and of the pixels at or beyond each edge of hue.

    A pixel's hue is num / spread sixths of a circle, from -1 to 5. The edges are the eighths of the circle from -1 to
    6, in sixths 0.75·k; both sides are multiplied by 4·spread, so that whole numbers are compared.
    """
    none = 0.0
    total = e0 = e1 = e2 = e3 = e4 = e5 = e6 = e7 = none
    for x in range(row.shape[1]):
        red, green, blue = float64(row[0, x]), float64(row[1, x]), float64(row[2, x])
        largest = max(red, max(green, blue))
        spread = largest - min(red, min(green, blue))
        num = red - green + 4 * spread
        num = blue - red + 2 * spread if green == largest else num
        num = green - blue if red == largest else num
        weight = spread / max(largest, 1.0)
        place, edge = 4 * num, 3 * spread
        total += weight
        e0 += weight if place >= -edge else none
        e1 += weight if place >= none else none
        e2 += weight if place >= edge else none
        e3 += weight if place >= 2 * edge else none
        e4 += weight if place >= 3 * edge else none
        e5 += weight if place >= 4 * edge else none
        e6 += weight if place >= 5 * edge else none
        e7 += weight if place >= 6 * edge else none
    for position, value in enumerate((total, e0, e1, e2, e3, e4, e5, e6, e7)):
        above[position] += value


@compiled("void(uint8[::1], int32[::1], int32[::1], int32[::1])", loosened=True)
def _split(row: Any, red: Any, green: Any, blue: Any) -> None:
    """Write the colours of one row (3·W,), pixel after pixel, to three of (W,): five times as fast as from (W, 3)."""
    for x in range(len(red)):
        red[x] = row[3 * x]
        green[x] = row[3 * x + 1]
        blue[x] = row[3 * x + 2]


@compiled("void(uint8[:, ::1], int32[:, ::1], float64[::1], float64[::1])", loosened=True)
def _add_colours(frame: Any, luma: Any, moments: Any, above: Any) -> None:
    """Take a frame (H, 3·W): write its luma (H + 2, W + 2) with a mirrored border, and add to moments and above.

    The mirror does not repeat the edge, but where a side is one pixel long.
    """
    height, width = frame.shape[0], frame.shape[1] // 3
    row = np.empty((3, width), np.int32)
    for y in range(height):
        _split(frame[y], row[0], row[1], row[2])
        _add_moments(row, luma[y + 1], moments)
        _add_hues(row, above)
    luma[0], luma[height + 1] = luma[min(2, height)], luma[max(height - 1, 1)]


@compiled("void(int32[:, ::1], float64[::1])", loosened=True)
def _add_laplacian(luma: Any, sums: Any) -> None:
    """Take a luma with its border (H + 2, W + 2): add its Laplacian and the square of that to sums (2,)."""
    for y in range(1, luma.shape[0] - 1):
        above, here, below = luma[y - 1], luma[y], luma[y + 1]
        total = square = int64(0)
        for x in range(1, luma.shape[1] - 1):
            value = above[x] + below[x] + here[x - 1] + here[x + 1] - 4 * here[x]
            total += value
            square += value * value
        sums[0] += total
        sums[1] += square


@compiled("float64(int32[:, ::1], int32[:, ::1])", loosened=True)
def _sum_of_steps(luma: Any, before: Any) -> float:
    """The sum of |Y - Y before| over what lies within the borders, for two lumas (H + 2, W + 2)."""
    total = 0.0
    for y in range(1, luma.shape[0] - 1):
        row = int64(0)
        for x in range(1, luma.shape[1] - 1):
            row += abs(luma[y, x] - before[y, x])
        total += row
    return total


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelSums:
    """Sums over the pixels of each of T frames, float64. Y is in thousandths."""

    moments: npt.NDArray[np.float64]
    """(T, 9): R, G, B, RR, GG, BB, RG, RB, GB."""
    above: npt.NDArray[np.float64]
    """(T, 9): the saturation of all pixels, then of those at or beyond each edge of hue."""
    laplacian: npt.NDArray[np.float64]
    """(T, 2): the Laplacian L of Y, and L²."""
    step: npt.NDArray[np.float64]
    """(T - 1,): |Y_{t+1} - Y_t|."""


def sum_pixels(frames: npt.NDArray[np.uint8]) -> PixelSums:
    """Sum uint8 RGB frames (T, H, W, 3)."""
    num_frames, height, width, _ = frames.shape
    moments, above = np.zeros((num_frames, NUM_MOMENTS)), np.zeros((num_frames, NUM_EDGES + 1))
    laplacian, step = np.zeros((num_frames, 2)), np.zeros(num_frames - 1)
    lumas = np.empty((2, height + 2, width + 2), np.int32)  # of this frame and of the one before
    for t in range(num_frames):
        luma, before = lumas[t % 2], lumas[(t + 1) % 2]
        rows = np.ascontiguousarray(frames[t]).reshape(height, 3 * width)
        _add_colours(rows, luma, moments[t], above[t])
        _add_laplacian(luma, laplacian[t])
        if t > 0:
            step[t - 1] = _sum_of_steps(luma, before)
    return PixelSums(moments=moments, above=above, laplacian=laplacian, step=step)
