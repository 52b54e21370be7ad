"""Where everything of a clip stands in the picture: the figure and things in pixels, under a camera that may move.

Pixels: x to the right, y down, the centre of the top left pixel at (0, 0); the picture is 240 high and 320 wide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from preprocess.synth.actions import ACTIONS, Movement, movement_of
from preprocess.synth.figure import JOINT, Array, Clock
from preprocess.synth.specs import FRAMES_PER_SECOND, ClipSpec, Colour

HEIGHT, WIDTH = 240, 320
CENTRE = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
MAX_SHIFT_X, MAX_SHIFT_Y, MIN_ZOOM, MAX_ZOOM = 28.0, 14.0, 0.92, 1.12

NEAREST = 9.0  # depth of what is drawn last; what is drawn first has the negative

_TILT = 0.12  # the camera looks down a little: what is nearer stands lower in the picture
_MARGIN = 0.115  # room around the joints, in body heights: the thickest part of the body
_CLOSE_UP = 1.8
_BALL: Colour = (215.0, 60.0, 35.0)
# Joint, joint, radius at each in body heights, paint.
_BODY: tuple[tuple[str, str, float, float, str], ...] = (
    ("neck", "pelvis", 0.078, 0.066, "shirt"), ("shoulder_r", "shoulder_l", 0.045, 0.045, "shirt"),
    ("hip_r", "hip_l", 0.054, 0.054, "trousers"),
    ("shoulder_r", "elbow_r", 0.04, 0.034, "shirt"), ("elbow_r", "hand_r", 0.034, 0.028, "skin"),
    ("shoulder_l", "elbow_l", 0.04, 0.034, "shirt"), ("elbow_l", "hand_l", 0.034, 0.028, "skin"),
    ("hand_r", "hand_r", 0.038, 0.038, "skin"), ("hand_l", "hand_l", 0.038, 0.038, "skin"),
    ("hip_r", "knee_r", 0.054, 0.044, "trousers"), ("knee_r", "ankle_r", 0.044, 0.032, "trousers"),
    ("hip_l", "knee_l", 0.054, 0.044, "trousers"), ("knee_l", "ankle_l", 0.044, 0.032, "trousers"),
    ("ankle_r", "toe_r", 0.032, 0.026, "hair"), ("ankle_l", "toe_l", 0.032, 0.026, "hair"),
    ("neck", "head", 0.032, 0.032, "skin"), ("head", "head", 0.075, 0.075, "skin"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Rod:
    """A tapered rod with round ends in each of n frames, all float64."""

    start: Array  # (n, 2), pixels
    end: Array  # (n, 2), pixels
    start_radius: Array  # (n,), pixels
    end_radius: Array  # (n,), pixels
    colour: Array  # (n, 3), RGB in [0, 255]
    depth: Array  # (n,), body heights: the larger, the nearer


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Everything that is drawn over the background."""

    figure: tuple[Rod, ...]
    things: tuple[Rod, ...]
    camera: Array  # (n, 3): shift in x and y in pixels, and zoom


def clip_movement(spec: ClipSpec) -> Movement:
    """Joints and things of a clip in body axes; a left-handed clip is the mirror image of the right-handed one."""
    seconds = np.arange(spec.num_frames) / FRAMES_PER_SECOND
    frames = np.arange(spec.num_frames) - (spec.num_frames - 1) / 2 - spec.transition_offset
    clock = Clock(
        cycles=spec.start_cycle + seconds * ACTIONS[spec.class_name].hertz * spec.tempo,
        progress=np.clip(0.5 + frames / spec.transition_frames, 0.0, 1.0),
        amplitude=spec.amplitude,
        travel=spec.travel,
    )
    return movement_of(spec.class_name, clock, spec.source.proportions)


def drawing_of(spec: ClipSpec) -> Drawing:
    """Project a clip's movement into the picture."""
    movement = clip_movement(spec)
    joints = _picture_axes(movement.joints, spec)
    ends = [(_picture_axes(prop.start, spec), _picture_axes(prop.end, spec)) for prop in movement.props]
    fitting = [end for prop, pair in zip(movement.props, ends, strict=True) if prop.fits for end in pair]
    ahead = _picture_axes(movement.joints[:, JOINT["neck"]] + (ACTIONS[spec.class_name].room_ahead, 0.0, 0.0), spec)
    points = np.concatenate([joints.reshape(-1, 3), ahead, *fitting])
    scale, offset = _placement(spec, points, head_top=float(joints[:, JOINT["head"], 1].max()))
    camera = camera_path(spec)

    def in_pixels(start: Array, end: Array, radii: tuple[float, float], colour: Array, depth: Array) -> Rod:
        start_px, end_px = (to_frame(point[:, :2] * (scale, -scale) + offset, camera) for point in (start, end))
        sizes = [radius * scale * camera[:, 2] for radius in radii]
        return Rod(start=start_px, end=end_px, start_radius=sizes[0], end_radius=sizes[1], colour=colour, depth=depth)

    thickness, middle = spec.source.proportions.thickness, joints[:, JOINT["pelvis"], 2]
    figure = []
    for start, end, radii, paint in _body_parts(spec, joints, movement.joints):
        depth = (start[:, 2] + end[:, 2]) / 2 - middle - (0.01 if paint is spec.source.hair else 0.0)
        sizes = (radii[0] * thickness, radii[1] * thickness)
        figure.append(in_pixels(start, end, sizes, _shaded(paint, depth), depth))
    things = []
    for prop, (start, end) in zip(movement.props, ends, strict=True):
        colour = np.tile(np.array(_BALL if prop.bright else spec.source.furniture), (spec.num_frames, 1))
        depth = np.full(spec.num_frames, NEAREST if prop.bright else -NEAREST)
        things.append(in_pixels(start, end, (prop.radius, prop.radius), colour, depth))
    return Drawing(figure=tuple(figure), things=tuple(things), camera=camera)


def _picture_axes(points: Array, spec: ClipSpec) -> Array:
    """Body axes (..., 3) to picture axes (..., 3): right, up and towards the camera, in body heights."""
    x, y, z = np.moveaxis(points * (1.0, 1.0, -1.0 if spec.mirrored else 1.0), -1, 0)
    depth = x * np.sin(spec.yaw) + z * np.cos(spec.yaw)
    return np.stack((x * np.cos(spec.yaw) - z * np.sin(spec.yaw), y - _TILT * depth, depth), axis=-1)


def _body_parts(
    spec: ClipSpec, joints: Array, body_joints: Array
) -> Iterator[tuple[Array, Array, tuple[float, float], Colour]]:
    """Ends (n, 3) in picture axes, radii in body heights and paint of every part of the figure."""
    source = spec.source
    paints = {"shirt": source.shirt, "trousers": source.trousers, "skin": source.skin, "hair": source.hair}
    for start, end, start_radius, end_radius, paint in _BODY:
        yield joints[:, JOINT[start]], joints[:, JOINT[end]], (start_radius, end_radius), paints[paint]
    neck, head = body_joints[:, JOINT["neck"]], body_joints[:, JOINT["head"]]
    up = (head - neck) / np.linalg.norm(head - neck, axis=1, keepdims=True)
    across = body_joints[:, JOINT["shoulder_r"]] - body_joints[:, JOINT["shoulder_l"]]
    ahead = np.cross(up, across / np.linalg.norm(across, axis=1, keepdims=True))
    crown = _picture_axes(head + 0.026 * up - 0.026 * ahead, spec)
    yield crown, crown, (0.07, 0.07), source.hair


def figure_boxes(spec: ClipSpec) -> Array:
    """Boxes around the figure without its things, cut to the picture: float64 (n, 4): x0, y0, x1, y1 in pixels."""
    rods = drawing_of(spec).figure
    low = np.min([np.minimum(r.start - r.start_radius[:, None], r.end - r.end_radius[:, None]) for r in rods], axis=0)
    high = np.max([np.maximum(r.start + r.start_radius[:, None], r.end + r.end_radius[:, None]) for r in rods], axis=0)
    boxes: Array = np.clip(np.concatenate((low, high), axis=1), 0.0, (WIDTH, HEIGHT, WIDTH, HEIGHT))
    return boxes


def to_frame(points: Array, camera: Array) -> Array:
    """Where the camera shows points (n, 2) that a still one would show at their coordinates."""
    shown: Array = (points - CENTRE) * camera[:, 2:] + CENTRE + camera[:, :2]
    return shown


def camera_path(spec: ClipSpec) -> Array:
    """Shift in x and y in pixels, and zoom, of each frame: float64 (n, 3); (0, 0, 1) for a camera that stands still."""
    still = np.tile((0.0, 0.0, 1.0), (spec.num_frames, 1))
    if not spec.camera_moves:
        return still
    rng = np.random.default_rng([spec.seed, 4, spec.index])
    time = np.arange(spec.num_frames) / FRAMES_PER_SECOND
    way = np.linspace(-1.0, 1.0, spec.num_frames)
    pan = rng.uniform(0.3, 0.9, 2) * rng.choice((-1, 1), 2) * (MAX_SHIFT_X, MAX_SHIFT_Y)
    drift = way if rng.uniform() < 0.5 else np.sin(2 * np.pi * (rng.uniform(0.2, 0.5) * time + rng.uniform()))
    shift = drift[:, None] * pan
    for _ in range(2):
        hertz, phase, size = rng.uniform(1.5, 5.0, 2), rng.uniform(size=2), rng.uniform(0.0, 1.2, 2)
        shift += size * np.sin(2 * np.pi * (hertz * time[:, None] + phase))
    ends = rng.uniform(0.94, 1.1, 2)
    zoom = np.interp(way, (-1.0, 1.0), ends)
    limits = np.array([MAX_SHIFT_X, MAX_SHIFT_Y])
    return np.column_stack((np.clip(shift, -limits, limits), np.clip(zoom, MIN_ZOOM, MAX_ZOOM)))


def _placement(spec: ClipSpec, points: Array, *, head_top: float) -> tuple[float, Array]:
    """Pixels a body height, and the pixel of the origin, so that all points (m, 3) of the clip lie in the picture."""
    low, high = points[:, :2].min(axis=0) - _MARGIN, points[:, :2].max(axis=0) + _MARGIN
    extent = high - low
    if spec.close_up:
        scale = spec.height * HEIGHT * _CLOSE_UP
        y = 0.06 * HEIGHT + (head_top + _MARGIN) * scale
    else:
        scale = min(spec.height * HEIGHT, (HEIGHT - 4) / extent[1], (WIDTH - 4) / extent[0])
        free = HEIGHT - extent[1] * scale
        y = HEIGHT + low[1] * scale - min(free, 0.04 * HEIGHT)
    leftmost, rightmost = -low[0] * scale, WIDTH - high[0] * scale
    x = leftmost + spec.place * (rightmost - leftmost) if leftmost < rightmost else (leftmost + rightmost) / 2
    return float(scale), np.array([x, y])


def _shaded(colour: Colour, depth: Array) -> Array:
    """Colour (n, 3) of a part: darker behind the middle of the body than before it: left and right differ."""
    return np.array(colour) * np.clip(1.0 + 1.8 * depth, 0.7, 1.12)[:, None]
