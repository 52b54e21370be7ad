"""Clip descriptors, worked by hand, and the feature space made of them."""

from __future__ import annotations

import numpy as np
import pytest

from preprocess.balance.descriptors import DESCRIPTOR_LENGTH, clip_descriptor, feature_space


def test_descriptor_of_a_picture_worked_by_hand() -> None:
    """Left half black, right half white; then all white. Luma by hand, cell by cell."""
    frames = np.zeros((4, 16, 16, 3), dtype=np.uint8)
    frames[:, :, 8:] = 255
    frames[2:] = 255
    found = clip_descriptor(frames)
    assert found.shape == (DESCRIPTOR_LENGTH,)
    mean, change, motion = (found[64 * part : 64 * (part + 1)].reshape(8, 8) for part in range(3))
    left = np.arange(8) < 4
    np.testing.assert_allclose(mean, np.tile(np.where(left, 127.5, 255), (8, 1)), rtol=1e-6)
    np.testing.assert_allclose(change, np.tile(np.where(left, 255, 0), (8, 1)), rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(motion, np.tile(np.where(left, 85, 0), (8, 1)), rtol=1e-6, atol=1e-4)
    orientations = found[192:].reshape(4, 4, 8)
    upright = np.zeros(8)
    upright[0] = 1  # the gradient across a vertical edge points sideways
    np.testing.assert_allclose(orientations[:, 1:3], np.broadcast_to(upright, (4, 2, 8)))
    assert not orientations[:, [0, 3]].any()


def test_orientation_bins_follow_the_slope() -> None:
    """A ramp at angle a has all its gradient in bin a // 22.5 degrees, whichever way it rises."""
    rows, columns = np.mgrid[0:64, 0:64] - 32
    for degrees in (11.25, 56.25, 101.25, 168.75, 191.25, 281.25):
        angle = np.deg2rad(degrees)
        ramp = 128 + 2 * (np.cos(angle) * columns + np.sin(angle) * rows)
        frames = np.repeat(np.round(ramp).clip(0, 255).astype(np.uint8)[None, :, :, None], 3, axis=-1)
        inner = clip_descriptor(frames)[192:].reshape(4, 4, 8)[1:3, 1:3]
        assert (inner.argmax(axis=-1) == int(degrees % 180 // 22.5)).all()


@pytest.mark.parametrize("shape", [(1, 24, 32, 3), (2, 5, 3, 3), (16, 224, 304, 3)])
def test_descriptor_is_finite_for_every_size(shape: tuple[int, ...]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = clip_descriptor(frames)
    assert found.shape == (DESCRIPTOR_LENGTH,)
    assert np.isfinite(found).all()


def test_descriptor_tells_the_arrow_of_time() -> None:
    frames = np.zeros((6, 24, 32, 3), dtype=np.uint8)
    frames += np.arange(0, 240, 40, dtype=np.uint8)[:, None, None, None]
    forwards, backwards = clip_descriptor(frames), clip_descriptor(frames[::-1])
    np.testing.assert_allclose(forwards[64:128], -backwards[64:128])
    assert (forwards[64:128] == pytest.approx(120)) and np.array_equal(forwards[:64], backwards[:64])


def test_feature_space_weighs_groups_alike_and_is_bounded() -> None:
    """All five groups carry the same variance, 1 each; what PCA keeps of it is its strongest part, in order."""
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(400, DESCRIPTOR_LENGTH)).astype(np.float32) * 7 + 3
    statistics = rng.normal(size=(400, 21)).astype(np.float32) * 100
    space = feature_space(descriptors.copy(), statistics.copy())
    assert space.shape == (400, 64)
    variances = space.var(axis=0)
    assert (np.diff(variances) <= 1e-6).all()
    scaled = [
        (group - group.mean(axis=0)) / group.std(axis=0) / np.sqrt(group.shape[1])
        for group in (*np.split(descriptors.astype(np.float64), [64, 128, 192], axis=1), statistics.astype(np.float64))
    ]
    expected = np.linalg.svd(np.hstack(scaled), compute_uv=False)[:64] ** 2 / 400
    np.testing.assert_allclose(variances, expected, rtol=1e-4)
    np.testing.assert_array_equal(space, feature_space(descriptors, statistics))
