"""Boxes of what moves, and the heat in them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.heat_on_motion import ClipHeat, area, elsewhere, mean_share, motion_boxes

SIDE = 64


def moving_square(*, first: int = 8) -> np.ndarray:
    """Four frames of a bright square, 8 wide, that goes two pixels to the right each: float32 (4, 64, 64)."""
    clip = np.full((4, SIDE, SIDE), 0.2, np.float32)
    for frame in range(4):
        clip[frame, 20:28, first + 2 * frame : first + 2 * frame + 8] = 0.9
    return clip


def clip_of(boxes: np.ndarray, heat: np.ndarray, source: str) -> ClipHeat:
    return ClipHeat(boxes=boxes, maps={"rollout": heat}, is_right=True, source=source)


def test_the_box_holds_what_left_and_what_came() -> None:
    boxes = motion_boxes(moving_square()) * SIDE
    np.testing.assert_allclose(boxes[1], [8, 20, 20, 28], atol=1)  # columns 8-11 and 16-19 changed from frame 0 to 2
    np.testing.assert_allclose(boxes[2], [10, 20, 22, 28], atol=1)


def test_without_motion_or_with_a_moving_camera_there_is_no_box() -> None:
    assert np.isnan(motion_boxes(np.full((4, SIDE, SIDE), 0.5, np.float32))).all()
    noise = np.random.default_rng(0).random((4, SIDE, SIDE), np.float32)
    boxes = motion_boxes(noise)
    assert np.isnan(boxes).all() and np.isnan(area(boxes))
    assert np.isnan(mean_share(noise, boxes))


def test_even_heat_has_the_share_of_the_area_and_heat_in_the_box_all() -> None:
    boxes = motion_boxes(moving_square())
    assert mean_share(np.ones((4, 4, 4), np.float32), boxes) == pytest.approx(area(boxes))
    spot = np.zeros((4, SIDE, SIDE), np.float32)
    spot[:, 24, 16] = 1.0
    assert mean_share(spot, boxes) == pytest.approx(1.0)


def test_boxes_of_other_sources_say_where_heat_lies_anyway() -> None:
    left, right = motion_boxes(moving_square(first=4)), motion_boxes(moving_square(first=44))
    heat = np.zeros((4, SIDE, SIDE), np.float32)
    heat[:, 24, 10] = 1.0  # in the left box
    clips = [clip_of(left, heat, "a"), clip_of(left, heat, "a"), clip_of(right, heat, "b")]
    np.testing.assert_allclose(elsewhere(clips, "rollout"), [0, 0, 1])
