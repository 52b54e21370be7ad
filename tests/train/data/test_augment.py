"""Augmentation: clip-consistent, exact where the docs say so, a pure function of its generator."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
import torch

from train.data.augment import AugmentSettings, ClipChanges, Statistics, augment, draw_changes
from train.data.views import evaluation_views, square_boxes

HEIGHT, WIDTH = 48, 64


def statistics(count: int, *, seed: int = 0) -> Statistics:
    rng = np.random.default_rng(seed)
    return Statistics(
        brightness=rng.uniform(60, 180, count),
        contrast=rng.uniform(20, 70, count),
        blur=rng.uniform(50, 900, count),
        colorfulness=rng.uniform(5, 60, count),
    )


def draw(count: int, *, strength: float = 1.0, seed: int = 0, settings: AugmentSettings | None = None) -> ClipChanges:
    return draw_changes(
        statistics(count),
        training=statistics(50, seed=1),
        strength=np.full(count, strength),
        settings=settings or AugmentSettings(),
        height=HEIGHT,
        width=WIDTH,
        rng=np.random.default_rng(seed),
    )


def no_change(count: int) -> ClipChanges:
    """The whole picture, untouched."""
    return ClipChanges(
        box=np.tile(np.array([0, 0, 32, 32]), (count, 1)),
        flip=np.zeros(count, bool),
        shift=np.zeros(count, np.float32),
        contrast=np.ones(count, np.float32),
        colour=np.ones(count, np.float32),
        blur=np.ones(count, np.float32),
        middle=np.full(count, 128, np.float32),
    )


def gentle_frames(count: int = 2, *, side: int = 32) -> torch.Tensor:
    """Frames far from black and white, so that nothing is clipped: uint8 (count, 4, side, side, 3)."""
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.integers(100, 156, (count, 4, side, side, 3), dtype=np.uint8))


def test_every_frame_of_a_clip_gets_the_same_change() -> None:
    one_frame = torch.randint(0, 256, (6, 1, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    video = augment(one_frame.expand(-1, 5, -1, -1, -1), draw(6), image_size=32)
    assert video.shape == (6, 5, 3, 32, 32)
    assert torch.equal(video, video[:, :1].expand_as(video))
    assert not torch.equal(video[0, 0], augment(one_frame, draw(6, seed=1), image_size=32)[0, 0])


def test_draws_are_a_pure_function_of_the_generator() -> None:
    first, again, other = draw(8, seed=5), draw(8, seed=5), draw(8, seed=6)
    for field in dataclasses.fields(ClipChanges):
        assert np.array_equal(getattr(first, field.name), getattr(again, field.name))
    assert not np.array_equal(first.box, other.box)


def test_boxes_lie_in_the_picture_and_cover_the_scale_asked_for() -> None:
    box = draw(4000, settings=AugmentSettings(scale=(0.25, 0.8))).box
    assert (box[:, :2] >= 0).all() and (box[:, 2:] >= 1).all()
    assert (box[:, 0] + box[:, 2] <= HEIGHT).all() and (box[:, 1] + box[:, 3] <= WIDTH).all()
    ratio = box[:, 3] / box[:, 2]
    assert 0.70 < ratio.min() < 0.80 and 1.25 < ratio.max() < 1.40
    share = box[:, 2] * box[:, 3] / (HEIGHT**2 * np.maximum(np.minimum(ratio, WIDTH / HEIGHT), 1e-9))
    square = np.abs(ratio - 1) < 0.1
    assert 0.2 < share[square].min() < 0.35 and 0.7 < share[square].max() < 0.9


@pytest.mark.parametrize("axis", [0, 1])
def test_every_place_of_a_crop_is_as_likely_at_the_border_too(axis: int) -> None:
    box = draw(60000, settings=AugmentSettings(scale=(0.8, 0.8), ratio=(1.0, 1.0))).box
    size = (HEIGHT, WIDTH)[axis]
    (side,) = set(box[:, 2 + axis].tolist())
    counts = np.bincount(box[:, axis], minlength=size - side + 1)
    assert len(counts) == size - side + 1
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_strength_zero_is_the_evaluation_picture() -> None:
    for height, width in ((48, 64), (48, 65), (65, 48), (33, 33)):
        frames = torch.randint(0, 256, (3, 2, height, width, 3), dtype=torch.uint8)
        changes = draw_changes(
            statistics(3),
            training=statistics(9),
            strength=np.zeros(3),
            settings=AugmentSettings(),
            height=height,
            width=width,
            rng=np.random.default_rng(0),
        )
        expected = evaluation_views(frames, image_size=24)[:, 0]
        torch.testing.assert_close(augment(frames, changes, image_size=24), expected, atol=1e-6, rtol=0)


def test_a_stronger_class_moves_further() -> None:
    weak, strong = draw(500, strength=0.5), draw(500, strength=1.5)
    assert np.abs(strong.shift).mean() > 1.5 * np.abs(weak.shift).mean()
    assert strong.box[:, 2:].prod(axis=1).mean() < weak.box[:, 2:].prod(axis=1).mean()
    assert (strong.flip & ~weak.flip).any()


def test_brightness_follows_the_training_quantiles() -> None:
    own = statistics(20000)
    constant = dataclasses.replace(statistics(50), brightness=np.full(50, 200.0))
    changes = draw_changes(
        own,
        training=constant,
        strength=np.full(20000, 1.0),
        settings=AugmentSettings(),
        height=HEIGHT,
        width=WIDTH,
        rng=np.random.default_rng(0),
    )
    share = changes.shift / (200 - own.brightness)  # m, uniform in [0, 1]
    assert share.min() >= 0 and share.max() <= 1
    assert np.allclose(np.quantile(share, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.02)


def test_flip_mirrors_the_whole_clip() -> None:
    frames = gentle_frames()
    changes = dataclasses.replace(no_change(2), flip=np.array([True, False]))
    video, plain = augment(frames, changes, image_size=32), augment(frames, no_change(2), image_size=32)
    torch.testing.assert_close(video[0], plain[0].flip(-1))
    torch.testing.assert_close(video[1], plain[1])


def test_resizing_is_antialiased() -> None:
    stripes = torch.zeros(1, 1, 64, 64, 3, dtype=torch.uint8)
    stripes[:, :, :, ::2] = 255
    video = augment(stripes, dataclasses.replace(no_change(1), box=np.array([[0, 0, 64, 64]])), image_size=16)
    assert (video[..., 2:-2] - 0.5).abs().max() < 0.03


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(224, 304, [[0, 0], [0, 40], [0, 80]]), (304, 224, [[0, 0], [40, 0], [80, 0]]), (100, 100, [[0, 0]] * 3)],
)
def test_evaluation_crops(height: int, width: int, expected: list[list[int]]) -> None:
    side = min(height, width)
    assert square_boxes(height, width, num_crops=3) == [[top, left, side, side] for top, left in expected]
    assert square_boxes(height, width, num_crops=1) == [[*expected[1], side, side]]


def test_evaluation_views_of_stored_size_are_the_stored_pixels() -> None:
    frames = torch.randint(0, 256, (2, 3, 16, 24, 3), dtype=torch.uint8)
    views = evaluation_views(frames, image_size=16, num_crops=2)
    assert views.shape == (2, 2, 3, 3, 16, 16)
    torch.testing.assert_close(views[:, 1], frames[:, :, :, 8:].permute(0, 1, 4, 2, 3) / 255)
