"""The embedded data set: how figures move and what is drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from preprocess.synth.actions import ACTIONS
from preprocess.synth.scene import _seen, background_of, draw_rod, render_clip
from preprocess.synth.specs import DIFFICULTIES, MAX_CLASSES, ClipSpec, Difficulty, SetParameters, clip_specs
from preprocess.synth.stage import (
    MAX_SHIFT_X,
    MAX_SHIFT_Y,
    MIN_ZOOM,
    Rod,
    camera_path,
    clip_movement,
    figure_boxes,
    to_frame,
)

DEFAULT = clip_specs(SetParameters())


def quiet(spec: ClipSpec) -> ClipSpec:
    return replace(spec, noise=0.0, blur=0, camera_moves=False)


def one_of(class_name: str, difficulty: Difficulty = "plain") -> ClipSpec:
    specs = clip_specs(SetParameters(num_classes=MAX_CLASSES, difficulty=difficulty))
    return next(spec for spec in specs if spec.class_name == class_name and spec.num_frames >= 40 and not spec.close_up)


@pytest.mark.parametrize(("first", "second"), [("sit", "stand"), ("throw", "catch")])
def test_pairs_differ_in_the_arrow_of_time_only(first: str, second: str) -> None:
    for spec in [s for s in DEFAULT if s.class_name == first][:8]:
        forwards, backwards = clip_movement(spec), clip_movement(replace(spec, class_name=second))
        assert np.array_equal(forwards.joints[::-1], backwards.joints)
        assert np.abs(forwards.joints - backwards.joints).max() > 0.05
        for mine, other in zip(forwards.props, backwards.props, strict=True):
            assert np.array_equal(mine.start[::-1], other.start)
            assert np.array_equal(mine.end[::-1], other.end)
    frames = render_clip(quiet(replace(one_of(first), num_frames=24)))
    reverse = render_clip(quiet(replace(one_of(first), num_frames=24, class_name=second)))
    assert np.array_equal(frames[::-1], reverse)
    assert ACTIONS[first].views == ACTIONS[second].views


def test_only_the_pairs_are_reversals_of_each_other() -> None:
    joints = {name: clip_movement(replace(one_of("walk"), class_name=name)).joints for name in ACTIONS}
    reversals = {(a, b) for a in joints for b in joints if a < b and np.allclose(joints[a][::-1], joints[b], atol=1e-3)}
    same = {(a, b) for a in joints for b in joints if a < b and np.allclose(joints[a], joints[b], atol=0.02)}
    assert reversals == {("sit", "stand"), ("catch", "throw")}
    assert not same


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_rendering_is_a_function_of_the_spec(difficulty: Difficulty) -> None:
    spec = replace(one_of("run", difficulty), num_frames=3)
    frames = render_clip(spec)
    assert frames.shape == (3, 240, 320, 3)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames, render_clip(spec))
    assert not np.array_equal(frames, render_clip(replace(spec, index=spec.index + 1)))


@pytest.mark.parametrize("class_name", ["walk", "pushup", "cartwheel", "jump"])
def test_boxes_hold_the_figure_and_nothing_else(class_name: str) -> None:
    spec = replace(quiet(one_of(class_name)), num_frames=20)
    empty = _seen(background_of(spec), np.array([0.0, 0.0, 1.0]))
    boxes = figure_boxes(spec)
    assert boxes.shape == (20, 4)
    for frame, box in zip(render_clip(spec), boxes, strict=True):
        rows, columns = np.nonzero(np.abs(np.moveaxis(frame, -1, 0) - empty).max(axis=0) > 12)
        found = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
        assert np.abs(found - box).max() <= 2.5


def test_plain_figures_fill_a_good_share_of_the_picture() -> None:
    boxes = [figure_boxes(spec) for spec in DEFAULT if spec.class_name == "walk" and not spec.close_up]
    heights = np.array([(box[:, 3] - box[:, 1]).mean() / 240 for box in boxes])
    assert heights.min() > 0.5
    assert heights.max() < 0.95


def test_a_rod_covers_its_area() -> None:
    def area(start: tuple[float, float], end: tuple[float, float], radius: float) -> float:
        image = np.zeros((3, 120, 160), np.float32)
        colour = np.ones((1, 3))
        radii = np.full(1, radius)
        rod = Rod(
            start=np.array([start]),
            end=np.array([end]),
            start_radius=radii,
            end_radius=radii,
            colour=colour,
            depth=radii,
        )
        draw_rod(image, rod, 0)
        return float(image[0].sum())

    assert area((60.3, 50.6), (60.3, 50.6), 12.0) == pytest.approx(np.pi * 144, rel=0.01)
    assert area((40.2, 30.9), (100.2, 75.9), 6.0) == pytest.approx(np.pi * 36 + 2 * 6 * 75, rel=0.01)
    assert area((-50.0, -50.0), (-40.0, -40.0), 6.0) == 0.0


@pytest.mark.parametrize("camera", [(0.0, 0.0, 1.0), (20.0, -9.0, 1.1), (-MAX_SHIFT_X, MAX_SHIFT_Y, MIN_ZOOM)])
def test_the_camera_moves_background_and_figure_alike(camera: tuple[float, float, float]) -> None:
    point = np.array([[100.0, 150.0]])
    background = background_of(one_of("walk")) * 0
    border_y, border_x = (background.shape[1] - 240) // 2, (background.shape[2] - 320) // 2
    background[:, border_y + 150, border_x + 100] = 1.0
    seen = _seen(background, np.array(camera))[0]
    rows, columns = np.mgrid[:240, :320]
    centre = np.array([(columns * seen).sum(), (rows * seen).sum()]) / seen.sum()
    assert np.abs(centre - to_frame(point, np.array([camera]))[0]).max() < 0.51


def test_a_moving_camera_never_sees_beyond_the_background() -> None:
    for difficulty in ("moving", "cluttered"):
        for spec in clip_specs(SetParameters(difficulty=cast(Difficulty, difficulty)))[::7]:
            background = np.zeros_like(background_of(DEFAULT[0]))
            background[:, 1:-1, 1:-1] = 1.0
            shown = [_seen(background, camera).min() for camera in camera_path(spec)[:: max(1, spec.num_frames // 4)]]
            assert min(shown) == 1.0
