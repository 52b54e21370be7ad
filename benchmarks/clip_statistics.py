"""Milliseconds a clip to measure statistics: this project, the same with OpenCV, and plainly written torch.

Run: python -m benchmarks.clip_statistics [--frames 16] [--height 224] [--width 304] [--repeats 15] [--json]
One thread. The three take turns, so that they meet the same machine; medians, and ratios to the first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from preprocess.extract.statistics import measure_clip
from shared.terminal.console import print_table, say


def measure_with_opencv(frames: npt.NDArray[np.uint8]) -> list[float]:
    """The same quantities (colour histogram: OpenCV's own 8-bit hue) as one would write them with OpenCV."""
    per_frame, pooled, lumas = [], [], []
    histogram = np.zeros(8)
    for frame in frames:
        luma = cv2.transform(frame.astype(np.float32), np.array([[0.299, 0.587, 0.114]], dtype=np.float32))
        mean, std = cv2.meanStdDev(luma)
        _, laplacian = cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_32F))
        opponent = cv2.transform(frame.astype(np.float32), np.array([[1, -1, 0], [0.5, 0.5, -1]], dtype=np.float32))
        centre, spread = cv2.meanStdDev(opponent)
        colorfulness = np.linalg.norm(spread) + 0.3 * np.linalg.norm(centre)
        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV_FULL)
        bins = np.bincount((hsv[..., 0] >> 5).ravel(), weights=hsv[..., 1].ravel(), minlength=8)
        histogram += bins
        per_frame.append((mean[0, 0], std[0, 0], laplacian[0, 0] ** 2, colorfulness, hsv[..., 1].mean()))
        pooled.append(np.concatenate(cv2.meanStdDev(frame)).ravel())
        lumas.append(luma)
    motion = [cv2.norm(later, earlier, cv2.NORM_L1) / earlier.size for earlier, later in itertools.pairwise(lumas)]
    means = np.concatenate([np.mean(per_frame, axis=0), np.mean(pooled, axis=0), histogram / max(histogram.sum(), 1)])
    return [*means.tolist(), float(np.mean(motion)) if motion else 0.0]


def measure_plainly(frames: torch.Tensor) -> list[float]:
    """The same quantities in plain float32 torch, whole clip at once."""
    rgb = frames.permute(0, 3, 1, 2).float()
    red, green, blue = rgb.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    padded = torch.nn.functional.pad(luma[:, None], (1, 1, 1, 1), mode="reflect")
    kernel = torch.tensor([[[[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]]])
    laplacian = torch.nn.functional.conv2d(padded, kernel)
    rg, yb = red - green, (red + green) / 2 - blue
    spread = (rg.var(dim=(1, 2), correction=0) + yb.var(dim=(1, 2), correction=0)).sqrt()
    colorfulness = spread + 0.3 * (rg.mean(dim=(1, 2)) ** 2 + yb.mean(dim=(1, 2)) ** 2).sqrt()
    largest, which = rgb.max(dim=1)
    difference = largest - rgb.min(dim=1).values
    nums = torch.stack((green - blue, blue - red + 2 * difference, red - green + 4 * difference), dim=1)
    num = nums.gather(1, which[:, None])[:, 0]
    hue = (4 * num / (3 * difference).clamp(min=1)).floor().long() % 8
    weight = difference / largest.clamp(min=1)
    histogram = torch.bincount(hue.flatten(), weight.flatten(), minlength=8)
    values = torch.cat((
        luma.mean(dim=(1, 2)).mean()[None],
        luma.std(dim=(1, 2), correction=0).mean()[None],
        laplacian.var(dim=(1, 2, 3), correction=0).mean()[None],
        colorfulness.mean()[None],
        weight.mean()[None],
        rgb.mean(dim=(0, 2, 3)),
        rgb.std(dim=(0, 2, 3), correction=0),
        histogram / histogram.sum().clamp(min=1e-9),
        luma.diff(dim=0).abs().mean()[None],
    ))  # fmt: skip
    return list(values.tolist())


def smooth_clip(num_frames: int, height: int, width: int) -> torch.Tensor:
    """A coloured clip with structure and noise, uint8 (T, H, W, 3)."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (num_frames, 12, 16, 3), dtype=np.uint8)
    large = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC) for picture in coarse]
    noise = generator.integers(-8, 9, (num_frames, height, width, 3))
    return torch.from_numpy((np.stack(large).astype(np.int64) + noise).clip(0, 255).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("frames", 16), ("height", 224), ("width", 304), ("repeats", 15)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    frames = smooth_clip(options.frames, options.height, options.width)
    array = frames.numpy()
    contestants: dict[str, Callable[[], object]] = {
        "measure_clip": lambda: measure_clip(frames),
        "OpenCV": lambda: measure_with_opencv(array),
        "plain torch": lambda: measure_plainly(frames),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.repeats + 1):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: 1000 * statistics.median(times[1:]) for name, times in seconds.items()}
    if options.json:
        ratios = {name: value / medians["measure_clip"] for name, value in medians.items()}
        say(json.dumps({"milliseconds": medians, "ratio": ratios, "frames": list(frames.shape)}))
        return
    rows = [[name, f"{value:.2f}", f"{value / medians['measure_clip']:.2f}"] for name, value in medians.items()]
    print_table(f"clip statistics, {tuple(frames.shape)}, one thread", ["", "ms a clip", "ratio"], rows)


if __name__ == "__main__":
    main()
