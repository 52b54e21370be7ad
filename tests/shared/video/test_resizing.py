"""Fitting frames into the stored size: geometry in integers, values against Pillow, no frame influencing another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shared.errors import UsageError
from shared.video.resizing import FrameSize, parse_size, resize_frames, scaled_size
from shared.video.shape import ClipShape

sides = st.integers(1, 700)


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def test_the_default_keeps_almost_the_whole_picture() -> None:
    size = FrameSize(height=224, width=304)
    assert scaled_size(240, 320, size) == (228, 304)  # 320x240: four of 228 rows are dropped
    assert scaled_size(240, 424, size) == (224, 396)  # 424 wide: 23 % of the width is dropped
    assert scaled_size(240, 560, size) == (224, 523)  # 560 wide: 42 %


@given(height=sides, width=sides, h=st.integers(1, 300), w=st.integers(1, 300))
def test_crop_covers_and_pad_fits(height: int, width: int, h: int, w: int) -> None:
    cover = scaled_size(height, width, FrameSize(height=h, width=w, fit="crop"))
    assert cover[0] >= h and cover[1] >= w and (cover[0] == h or cover[1] == w)
    inside = scaled_size(height, width, FrameSize(height=h, width=w, fit="pad"))
    assert 1 <= inside[0] <= h and 1 <= inside[1] <= w and (inside[0] == h or inside[1] == w)
    assert scaled_size(height, width, FrameSize(height=h, width=w, fit="squash")) == (h, w)


def test_values_are_those_of_an_antialiased_bilinear_filter() -> None:
    frames = noise(3, 240, 320, 3)
    resized = resize_frames(frames, FrameSize(height=112, width=152, fit="squash"))
    for frame, result in zip(frames.numpy(), resized.numpy(), strict=True):
        expected = np.asarray(Image.fromarray(frame).resize((152, 112), Image.Resampling.BILINEAR))
        assert np.abs(expected.astype(int) - result).max() <= 1


def test_crop_keeps_the_centre_and_pad_the_whole() -> None:
    frames = noise(2, 60, 100, 3)
    cropped = resize_frames(frames, FrameSize(height=60, width=80))
    assert torch.equal(cropped, frames[:, :, 10:90])
    padded = resize_frames(frames, FrameSize(height=80, width=100, fit="pad"))
    assert torch.equal(padded[:, 10:70], frames)
    assert padded[:, :10].sum() == padded[:, 70:].sum() == 0


def test_a_frame_does_not_depend_on_its_batch() -> None:
    frames = noise(7, 90, 121, 3)
    size = FrameSize(height=64, width=64)
    whole = resize_frames(frames, size)
    alone = torch.cat([resize_frames(frame[None], size) for frame in frames])
    assert torch.equal(whole, alone)
    assert whole.is_contiguous()
    assert whole.dtype == torch.uint8


def test_native_leaves_frames_alone() -> None:
    frames = noise(1, 9, 7, 3)
    assert torch.equal(resize_frames(frames, None), frames)


def test_sizes_as_text() -> None:
    assert parse_size("224x304", fit="crop") == FrameSize(height=224, width=304, fit="crop")
    assert parse_size("64", fit="pad") == FrameSize(height=64, width=64, fit="pad")
    assert parse_size("native", fit="crop") is None
    for text in ("", "0", "x", "12x", "1x2x3", "-4", "٣", "9000"):
        with pytest.raises(UsageError, match="--size"):
            parse_size(text, fit="crop")
    with pytest.raises(UsageError, match="--fit"):
        parse_size("64", fit="stretch")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"height": 0}, "height is 0; it must be a whole number from 1 to 65536"),
        ({"width": -5}, "width is -5"),
        ({"width": 10**6}, "width is 1000000"),
        ({"height": 64.0}, "height is 64.0"),
        ({"width": "64"}, "width is '64'"),
        ({"fit": "Crop"}, "fit is 'Crop'; it must be one of crop, squash, pad"),
    ],
)
def test_a_size_that_cannot_be(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FrameSize(**{"height": 64, "width": 80, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_segments": 0}, "num_segments is 0; it must be a whole number from 1 to 4096"),
        ({"num_segments": 5000}, "num_segments is 5000"),
        ({"num_segments": 2.5}, "num_segments is 2.5"),
        ({"frames_per_segment": -1}, "frames_per_segment is -1"),
        ({"frames_per_segment": 2}, "frames_per_segment is 2; it must be odd"),
        ({"size": (64, 80)}, r"size is \(64, 80\); it must be a FrameSize"),
    ],
)
def test_a_shape_that_cannot_be(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ClipShape(**{"num_segments": 4, "frames_per_segment": 1, "size": None, **values})  # type: ignore[arg-type]
