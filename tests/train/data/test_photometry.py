"""Photometry: the statistics of whole frames, as `hmdb-prep extract` measures them, reach the values aimed at."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.extract.statistics import measure_clip
from shared.video.luma import LUMA_WEIGHTS, luma_of_tensor
from train.data.photometry import FILTER_RANGE, _binomial, _laplacian, change_photometry


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The four statistics of a clip that augmentation changes."""

    brightness: float
    contrast: float
    blur: float
    colorfulness: float


def measured(video: torch.Tensor) -> Measured:
    """Of float pixels (T, 3, h, w) in [0, 255], as the manifest would have them."""
    frames = video.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    found = measure_clip(frames)
    return Measured(
        brightness=found.brightness, contrast=found.contrast, blur=found.blur, colorfulness=found.colorfulness
    )


def textured_clip(seed: int = 0, *, spread: float = 14.0) -> torch.Tensor:
    """Frames with large and small shapes and with colour, far from black and white: whole numbers, (3, 3, 96, 128)."""
    generator = torch.Generator().manual_seed(seed)
    video = torch.full((3, 3, 96, 128), 120.0)
    for side, weight in ((4, 1.0), (12, 0.7), (32, 0.3), (96, 0.5)):
        noise = torch.randn((3, 3, side, side * 4 // 3), generator=generator)
        video += spread * weight * F.interpolate(noise, size=(96, 128), mode="bicubic")
    return video.clamp(0, 255).round()


def changed(video: torch.Tensor, *, to: Measured) -> torch.Tensor:
    own = measured(video)
    factors = [to.contrast / own.contrast, to.colorfulness / own.colorfulness, to.blur / own.blur]
    changes = torch.tensor([to.brightness - own.brightness, *factors, own.brightness]).view(5, 1)
    return change_photometry(video[None].clone(), changes)[0]


@settings(deadline=None, max_examples=25)
@given(
    shift=st.floats(-25, 25),
    contrast=st.floats(0.6, 1.4),
    colour=st.floats(0, 1.5),
    blur=st.floats(0.5, 1.6),
    seed=st.integers(0, 5),
)
def test_all_four_targets_are_reached_together(
    shift: float, contrast: float, colour: float, blur: float, seed: int
) -> None:
    video = textured_clip(seed)
    own = measured(video)
    wanted = Measured(
        brightness=own.brightness + shift,
        contrast=own.contrast * contrast,
        blur=own.blur * contrast**2 * blur,
        colorfulness=own.colorfulness * colour,
    )
    reached = measured(changed(video, to=wanted))
    assert reached.brightness == pytest.approx(wanted.brightness, abs=0.2)
    assert reached.contrast == pytest.approx(wanted.contrast, rel=0.01)
    # Pixels are rounded for measuring: that adds 20/12 times the sum of the squared luma weights to the Laplacian.
    rounding = 20 / 12 * sum(weight**2 for weight in LUMA_WEIGHTS)
    assert reached.blur - rounding == pytest.approx(wanted.blur, rel=0.02, abs=1.5)
    assert reached.colorfulness == pytest.approx(wanted.colorfulness, abs=0.5)


def test_more_contrast_leaves_colour_and_blur_where_they_were() -> None:
    video = textured_clip()
    own = measured(video)
    wanted = Measured(
        brightness=own.brightness, contrast=1.5 * own.contrast, blur=own.blur, colorfulness=own.colorfulness
    )
    assert astuple(measured(changed(video, to=wanted))) == pytest.approx(astuple(wanted), rel=0.02)


def test_what_the_filter_cannot_reach_is_approached_and_contrast_is_kept() -> None:
    video = textured_clip(spread=4)
    own = measured(video)
    for factor, amount in ((1e4, FILTER_RANGE[0]), (1e-4, FILTER_RANGE[1])):
        found = changed(
            video,
            to=Measured(
                brightness=own.brightness,
                contrast=own.contrast,
                blur=factor * own.blur,
                colorfulness=own.colorfulness,
            ),
        )
        luma = luma_of_tensor(video)
        filtered = torch.lerp(luma, _binomial(luma), amount)
        scale = luma.flatten(1).std(dim=1, correction=0).mean() / filtered.flatten(1).std(dim=1, correction=0).mean()
        torch.testing.assert_close(
            luma_of_tensor(found) - own.brightness, scale * (filtered - own.brightness), atol=0.01, rtol=1e-3
        )


@pytest.mark.parametrize("picture", ["flat", "stripes", "one pixel"])
def test_pictures_without_detail_or_with_nothing_else_stay_pictures(picture: str) -> None:
    video = torch.full((1, 2, 3, 16, 16), 90.0)
    if picture == "stripes":
        video[..., ::2] = 140
    if picture == "one pixel":
        video = video[..., :1, :1]
    changes = torch.tensor([10.0, 1.5, 2.0, 0.1, 90.0]).view(5, 1)
    found = change_photometry(video.clone(), changes)
    assert found.isfinite().all()
    if picture != "stripes":
        torch.testing.assert_close(found, video + 10)


def test_each_clip_is_changed_by_itself() -> None:
    videos = torch.stack([textured_clip(seed) for seed in range(3)])
    rng = np.random.default_rng(0)
    changes = torch.from_numpy(rng.uniform(0.7, 1.4, (5, 3)).astype(np.float32))
    changes[4] = 120
    together = change_photometry(videos.clone(), changes)
    for clip in range(3):
        torch.testing.assert_close(
            together[clip : clip + 1], change_photometry(videos[clip : clip + 1], changes[:, clip : clip + 1])
        )


def test_filters_are_those_of_convolution() -> None:
    luma = torch.rand(4, 1, 9, 7)
    laplacian = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    line = torch.tensor([1.0, 2, 1]) / 4
    mirrored, repeated = (F.pad(luma, (1, 1, 1, 1), mode=mode) for mode in ("reflect", "replicate"))
    torch.testing.assert_close(_laplacian(luma), F.conv2d(mirrored, laplacian))
    torch.testing.assert_close(_binomial(luma), F.conv2d(repeated, torch.outer(line, line).view(1, 1, 3, 3)))
