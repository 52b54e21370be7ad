"""Clip statistics against OpenCV where it has the quantity, else against loops in float64 and whole numbers."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.extract.statistics import ClipStatistics, _statistics_from, _sums_anywhere, measure_clip
from shared.manifests.files import STATISTIC_COLUMNS

Frames = npt.NDArray[np.uint8]
HUES = [f"hue_hist_{index}" for index in range(8)]


def clip_of(array: npt.ArrayLike) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.asarray(array, dtype=np.uint8)))


def random_clip(seed: int, num_frames: int = 3, height: int = 20, width: int = 30, spread: int = 256) -> Frames:
    generator = np.random.default_rng(seed)
    low = generator.integers(0, 257 - spread, size=3)
    return (low + generator.integers(0, spread, (num_frames, height, width, 3))).astype(np.uint8)


def mirrored(index: int, length: int) -> int:
    if length == 1:
        return 0
    return -index if index < 0 else 2 * length - 2 - index if index >= length else index


def expected_statistics(frames: Frames) -> dict[str, float]:
    """Every statistic from its definition: loops over frames and pixels, float64, whole numbers for the hue."""
    per_frame, lumas, hist, saturations = [], [], [0.0] * 8, []
    for frame in frames:
        red, green, blue = (frame[..., c].astype(np.float64) for c in range(3))
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        height, width = luma.shape
        laplacian = [
            luma[mirrored(y - 1, height), x]
            + luma[mirrored(y + 1, height), x]
            + luma[y, mirrored(x - 1, width)]
            + luma[y, mirrored(x + 1, width)]
            - 4 * luma[y, x]
            for y in range(height)
            for x in range(width)
        ]
        rg, yb = red - green, 0.5 * (red + green) - blue
        colour = math.hypot(rg.std(), yb.std()) + 0.3 * math.hypot(rg.mean(), yb.mean())
        per_frame.append((luma.mean(), luma.std(), np.var(laplacian), colour))
        lumas.append(luma)
        for r, g, b in frame.reshape(-1, 3).tolist():
            mx, d = max(r, g, b), max(r, g, b) - min(r, g, b)
            saturations.append(d / mx if mx else 0.0)
            if d:
                num = g - b if r == mx else b - r + 2 * d if g == mx else r - g + 4 * d
                hist[(4 * num // (3 * d)) % 8] += d / mx
    brightness, contrast, blur, colorfulness = np.mean(per_frame, axis=0)
    pixels = frames.reshape(-1, 3).astype(np.float64)
    total = sum(hist) or 1.0
    steps = [np.abs(after - before).mean() for before, after in itertools.pairwise(lumas)]
    values = [brightness, np.std([row[0] for row in per_frame]), contrast, blur, colorfulness]
    values += [*pixels.mean(axis=0), *pixels.std(axis=0), np.mean(saturations), *(share / total for share in hist)]
    values.append(np.mean(steps) if steps else 0.0)
    return dict(zip(STATISTIC_COLUMNS, map(float, values), strict=True))


def assert_close(measured: ClipStatistics, expected: dict[str, float]) -> None:
    assert dataclasses.asdict(measured) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_the_fields_are_the_manifests_columns() -> None:
    assert tuple(field.name for field in dataclasses.fields(ClipStatistics)) == STATISTIC_COLUMNS


@pytest.mark.parametrize("spread", [2, 8, 256])
@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_the_definition(seed: int, spread: int) -> None:
    frames = random_clip(seed, spread=spread)
    assert_close(measure_clip(clip_of(frames)), expected_statistics(frames))


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    spread=st.sampled_from([1, 2, 3, 40, 256]),
)
def test_agrees_with_the_definition_on_any_small_clip(seed: int, shape: tuple[int, int, int], spread: int) -> None:
    frames = random_clip(seed, *shape, spread=spread)
    measured = measure_clip(clip_of(frames))
    assert_close(measured, expected_statistics(frames))
    assert all(type(value) is float for value in dataclasses.astuple(measured))


def test_agrees_with_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    frames = random_clip(3, num_frames=4, height=37, width=53)
    frames[2] = cv2.GaussianBlur(frames[2], (0, 0), 3)
    lumas = [cv2.transform(f.astype(np.float64), np.array([[0.299, 0.587, 0.114]])) for f in frames]
    saturations = [cv2.cvtColor(f.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[..., 1] for f in frames]
    measured = measure_clip(clip_of(frames))
    blur = np.mean([cv2.Laplacian(y, cv2.CV_64F, borderType=cv2.BORDER_DEFAULT).var() for y in lumas])
    assert measured.blur == pytest.approx(blur, rel=1e-5)
    assert measured.brightness == pytest.approx(np.mean([cv2.mean(y)[0] for y in lumas]), rel=1e-6)
    assert measured.contrast == pytest.approx(np.mean([cv2.meanStdDev(y)[1][0, 0] for y in lumas]), rel=1e-5)
    assert measured.saturation_mean == pytest.approx(np.mean(saturations), rel=1e-5)
    motion = [cv2.norm(b, a, cv2.NORM_L1) / a.size for a, b in itertools.pairwise(lumas)]
    assert measured.motion == pytest.approx(np.mean(motion), rel=1e-5)
    mean, std = cv2.meanStdDev(frames.reshape(-1, 1, 3))
    assert (measured.red_mean, measured.green_mean, measured.blue_mean) == pytest.approx(mean.ravel(), rel=1e-6)
    assert (measured.red_std, measured.green_std, measured.blue_std) == pytest.approx(std.ravel(), rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 5), (2, 5, 1), (1, 2, 2), (3, 3, 2)])
def test_border_of_tiny_frames_is_opencvs(shape: tuple[int, int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    frames = random_clip(5, *shape)
    lumas = [cv2.transform(f.astype(np.float64), np.array([[0.299, 0.587, 0.114]])).reshape(shape[1:]) for f in frames]
    blur = np.mean([cv2.Laplacian(y, cv2.CV_64F, borderType=cv2.BORDER_DEFAULT).var() for y in lumas])
    assert measure_clip(clip_of(frames)).blur == pytest.approx(blur, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("colour", "hue_bin"),
    [
        ((8, 0, 0), 0),  # num 0
        ((8, 6, 0), 1),  # num 6 of d 8: exactly 45 degrees, the edge belongs to the upper bin
        ((8, 5, 0), 0),
        ((8, 8, 0), 1),  # two largest: R comes first
        ((4, 8, 0), 2),  # 90 degrees
        ((5, 8, 0), 1),
        ((0, 8, 2), 3),  # 135
        ((0, 8, 1), 2),
        ((0, 8, 8), 4),  # 180, G comes before B
        ((0, 7, 8), 4),
        ((0, 2, 8), 5),  # 225: num 30 of d 8
        ((0, 3, 8), 4),
        ((4, 0, 8), 6),  # 270
        ((3, 0, 8), 5),
        ((8, 0, 6), 7),  # 315: num -6
        ((8, 0, 7), 6),  # num -7: floor division of a negative number
        ((8, 0, 1), 7),
        ((255, 254, 254), 0),
        ((254, 255, 254), 2),
    ],
)
def test_hue_bins_at_their_edges(colour: tuple[int, int, int], hue_bin: int) -> None:
    frames = np.broadcast_to(np.array(colour, dtype=np.uint8), (2, 3, 4, 3))
    measured = dataclasses.asdict(measure_clip(clip_of(frames)))
    assert [measured[name] for name in HUES] == [float(index == hue_bin) for index in range(8)]
    assert measured["saturation_mean"] == pytest.approx((max(colour) - min(colour)) / max(colour), rel=1e-6)


def test_every_edge_of_every_difference_is_exact() -> None:
    """All (num, d) that can occur: one clip of one colour each would be slow, so the weights tell the bins apart."""
    colours = np.array([(d, x, 0) for d in range(1, 256) for x in range(d + 1)], dtype=np.uint8)
    for order in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)]:
        frames = colours[None, None][..., order]
        expected = np.zeros(8)
        for r, g, b in frames.reshape(-1, 3).tolist():
            d = max(r, g, b)
            num = g - b if r == d else b - r + 2 * d if g == d else r - g + 4 * d
            expected[(4 * num // (3 * d)) % 8] += 1  # weight d / mx is 1 throughout
        measured = dataclasses.asdict(measure_clip(clip_of(frames)))
        counts = np.array([measured[name] for name in HUES]) * len(colours)
        np.testing.assert_allclose(counts, expected, atol=1e-2)


def test_a_rare_hue_is_exact_beside_saturated_ones() -> None:
    """Its bin is the small difference of large sums."""
    frames = np.random.default_rng(4).integers((200, 0, 0), (256, 40, 40), (2, 8, 304, 3)).astype(np.uint8)
    frames[1, 5, 100] = (250, 251, 252)
    measured, expected = dataclasses.asdict(measure_clip(clip_of(frames))), expected_statistics(frames)
    for name in (*HUES, "saturation_mean"):
        assert measured[name] == pytest.approx(expected[name], rel=1e-9), name
    assert 0 < expected["hue_hist_4"] < 1e-5


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_grey_clip(level: int) -> None:
    measured = dataclasses.asdict(measure_clip(torch.full((3, 4, 5, 3), level, dtype=torch.uint8)))
    for name in ("brightness", "red_mean", "green_mean", "blue_mean"):
        assert measured.pop(name) == pytest.approx(level)
    assert set(measured.values()) == {0.0}


def test_grey_noise_has_no_colour() -> None:
    grey = np.repeat(random_clip(1)[..., :1], 3, axis=-1)
    measured = measure_clip(clip_of(grey))
    assert measured.colorfulness == 0.0
    assert measured.saturation_mean == 0.0
    assert measured.contrast > 10.0


def test_a_single_frame_has_no_motion_and_alternating_ones_have() -> None:
    assert measure_clip(clip_of(random_clip(0, num_frames=1))).motion == 0.0
    flashing = np.zeros((4, 2, 2, 3), dtype=np.uint8)
    flashing[1::2] = 100
    measured = measure_clip(clip_of(flashing))
    assert (measured.motion, measured.brightness_std) == pytest.approx((100.0, 50.0))


def test_a_barely_structured_bright_frame_keeps_its_contrast() -> None:
    """One grey level in a large bright frame: what naive float32 sums of squares lose."""
    frames = np.full((1, 224, 304, 3), 250, dtype=np.uint8)
    frames[0, ::7, ::5, 1] = 251
    luma = frames[0].astype(np.float64) @ [0.299, 0.587, 0.114]
    measured = measure_clip(clip_of(frames))
    assert measured.contrast == pytest.approx(luma.std(), rel=1e-4)
    assert measured.green_std == pytest.approx(frames[..., 1].astype(np.float64).std(), rel=1e-4)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3, 1, 2), (3, 2, 1, 0), (1, 2, 0, 3)])
def test_memory_layout_does_not_matter(order: tuple[int, ...]) -> None:
    frames = clip_of(random_clip(7))
    laid_out = frames.permute(order).contiguous().permute(*np.argsort(order).tolist())
    assert laid_out.shape == frames.shape
    assert measure_clip(laid_out) == measure_clip(frames)


@pytest.mark.parametrize("shape", [(4, 24, 32), (1, 5, 7), (2, 1, 6), (2, 6, 1), (1, 1, 1)])
@pytest.mark.parametrize("spread", [2, 256])
def test_both_paths_agree(shape: tuple[int, int, int], spread: int) -> None:
    frames = clip_of(random_clip(11, *shape, spread=spread))
    assert_close(measure_clip(frames), dataclasses.asdict(_statistics_from(_sums_anywhere(frames))))


def test_without_numba_torch_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = clip_of(random_clip(12))
    compiled = measure_clip(frames)
    monkeypatch.setitem(sys.modules, "preprocess.extract.pixel_sums", None)
    assert_close(measure_clip(frames), dataclasses.asdict(compiled))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_clip_on_the_gpu_gives_the_same() -> None:
    frames = clip_of(random_clip(13, 16, 224, 304))
    assert_close(measure_clip(frames.cuda()), dataclasses.asdict(measure_clip(frames)))


@pytest.mark.parametrize(
    "frames",
    [torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 4, 4, 3), torch.zeros(0, 4, 4, 3, dtype=torch.uint8)],
)
def test_other_shapes_and_types_are_refused(frames: Any) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        measure_clip(frames)
