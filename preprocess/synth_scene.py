"""Draws the clips of the embedded data set: backgrounds, rods, light, blur and noise, down to RGB frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preprocess.synth_figure import Array
from preprocess.synth_plan import FRAMES_PER_SECOND, ClipSpec
from preprocess.synth_stage import HEIGHT, WIDTH, Rod, Stage, stage_of

Image = NDArray[np.float32]

# Room around the picture for a camera that moves: its largest shift at its smallest zoom, and a pixel.
BORDER_X, BORDER_Y = 46, 28
_NOISE_BORDER = 32


def render_clip(spec: ClipSpec) -> NDArray[np.uint8]:
    """Draw every frame of a clip: uint8 (n, 240, 320, 3) RGB, a pure function of ``spec``."""
    stage = stage_of(spec)
    rng = np.random.default_rng([spec.seed, 5, spec.index])
    background = background_of(spec)
    light = _light(spec, rng)
    grain = _grain(spec, rng)
    rods = sorted((*stage.figure, *stage.things, *_distractors(spec, stage, rng)), key=lambda rod: float(rod.depth.mean()))
    places = rng.integers(0, _NOISE_BORDER, (spec.num_frames, 2))
    frames = np.empty((spec.num_frames, HEIGHT, WIDTH, 3), np.uint8)
    still = None if spec.camera_moves else _seen(background, stage.camera[0])
    for index in range(spec.num_frames):
        image = _seen(background, stage.camera[index]) if still is None else still.copy()
        for rod in rods:
            draw_rod(image, rod, index)
        if light is not None:
            image *= light[index]
        for _ in range(spec.blur):
            image = _blurred(image)
        if grain is not None:
            y, x = places[index]
            image += grain[y : y + HEIGHT, x : x + WIDTH]
        np.clip(image, 0.0, 255.0, out=image)
        np.rint(image, out=image)
        frames[index] = image
    return frames


def draw_rod(image: Image, rod: Rod, index: int) -> None:
    """Paint one rod of frame ``index`` over ``image`` (H, W, 3) in place; edges are a pixel soft.

    The distance is that to the rod's axis less the radius at the nearest point of it.
    """
    (x0, y0), (x1, y1) = rod.start[index], rod.end[index]
    r0, r1 = float(rod.start_radius[index]), float(rod.end_radius[index])
    left, right = int(max(0.0, min(x0 - r0, x1 - r1) - 1)), int(min(image.shape[1], max(x0 + r0, x1 + r1) + 2))
    top, bottom = int(max(0.0, min(y0 - r0, y1 - r1) - 1)), int(min(image.shape[0], max(y0 + r0, y1 + r1) + 2))
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right, dtype=np.float32) - np.float32(x0)
    y = (np.arange(top, bottom, dtype=np.float32) - np.float32(y0))[:, None]
    dx, dy = np.float32(x1 - x0), np.float32(y1 - y0)
    along = np.clip((x * dx + y * dy) / np.float32(max(float(dx * dx + dy * dy), 1e-6)), 0.0, 1.0)
    distance = np.hypot(x - along * dx, y - along * dy) - (np.float32(r0) + along * np.float32(r1 - r0))
    cover = np.clip(np.float32(0.5) - distance, 0.0, 1.0)[..., None]
    box = image[top:bottom, left:right]
    box += cover * (rod.color[index].astype(np.float32) - box)


def background_of(spec: ClipSpec) -> Image:
    """The scene without the figure, with room around the picture: float32 (H + 2 border, W + 2 border, 3) in [0, 255].

    It belongs to the source: every clip of one actor in one scene has the same.
    """
    source = spec.source
    height, width = HEIGHT + 2 * BORDER_Y, WIDTH + 2 * BORDER_X
    down = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
    top, bottom = np.array(source.top, np.float32), np.array(source.bottom, np.float32)
    image = np.broadcast_to(top + down * (bottom - top), (height, width, 3)).copy()
    rng = np.random.default_rng([source.seed, 6])
    if spec.difficulty == "moving":
        _add_texture(image, rng, strength=10.0)
    if spec.difficulty == "cluttered":
        _add_texture(image, rng, strength=28.0)
        _add_clutter(image, rng)
    return np.clip(image, 0.0, 255.0)


def _add_texture(image: Image, rng: np.random.Generator, *, strength: float) -> None:
    """Add smooth random patches of three sizes, half as strong at each halving of their size."""
    height, width, _ = image.shape
    for octave, cells in enumerate((5, 12, 30)):
        coarse = rng.normal(0.0, strength / 2**octave, (cells + 1, cells + 1, 3)).astype(np.float32)
        rows = _interpolated(coarse, np.linspace(0.0, cells, height), axis=0)
        image += _interpolated(rows, np.linspace(0.0, cells, width), axis=1)


def _add_clutter(image: Image, rng: np.random.Generator) -> None:
    """Draw still rods and discs of all colours: the things that stand about in a scene."""
    height, width, _ = image.shape
    for _ in range(int(rng.integers(10, 22))):
        start = rng.uniform((0.0, 0.0), (width, height))
        length = rng.choice((0.0, 1.0)) * rng.uniform(30, 140)
        angle = rng.uniform(0, 2 * np.pi)
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        draw_rod(image, _plain_rod(start[None], end[None], rng.uniform(3, 22), rng.uniform(30, 225, 3)), 0)


def _plain_rod(start: Array, end: Array, radius: float, color: Array, depth: float = 0.0) -> Rod:
    count = len(start)
    radii = np.full(count, radius)
    return Rod(
        start=start, end=end, start_radius=radii, end_radius=radii,
        color=np.tile(color, (count, 1)), depth=np.full(count, depth),
    )  # fmt: skip


def _distractors(spec: ClipSpec, stage: Stage, rng: np.random.Generator) -> list[Rod]:
    """Things of a cluttered clip that drift past behind the figure, and small ones before it."""
    if spec.difficulty != "cluttered":
        return []
    time = np.arange(spec.num_frames)[:, None]
    rods = []
    for _ in range(int(rng.integers(1, 4))):
        near = rng.uniform() < 0.3
        start = rng.uniform((0.0, 0.0), (WIDTH, HEIGHT)) + time * rng.uniform(-2.5, 2.5, 2) * (1.0, 0.3)
        end = start + rng.uniform(-30, 30, 2) * (0.4 if near else 1.0)
        radius = rng.uniform(3, 7) if near else rng.uniform(6, 18)
        depth = 10.0 if near else -10.0
        shift = stage.camera[:, :2]
        rods.append(_plain_rod(start + shift, end + shift, radius, rng.uniform(30, 225, 3), depth))
    return rods


def _light(spec: ClipSpec, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """Brightness factor of each frame (n,), or None where the light is steady: a slow swell or a drift."""
    size, hertz, phase = rng.uniform(0.03, 0.2), rng.uniform(0.2, 1.0), rng.uniform()
    if spec.difficulty == "plain":
        return None
    time = np.arange(spec.num_frames) / FRAMES_PER_SECOND
    return (1.0 + size * np.sin(2 * np.pi * (hertz * time + phase))).astype(np.float32)


def _grain(spec: ClipSpec, rng: np.random.Generator) -> Image | None:
    """Noise of a sheet larger than the picture; frames take their own window of it. Drawing it afresh is slow."""
    if spec.noise < 0.25:
        return None
    shape = (HEIGHT + _NOISE_BORDER, WIDTH + _NOISE_BORDER, 3)
    return np.float32(spec.noise) * rng.standard_normal(shape, dtype=np.float32)


def _seen(background: Image, camera: Array) -> Image:
    """The part of the background that the camera shows (240, 320, 3), interpolated linearly."""
    shift_x, shift_y, zoom = camera
    middle_x, middle_y = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    rows = (np.arange(HEIGHT) - middle_y - shift_y) / zoom + middle_y + BORDER_Y
    columns = (np.arange(WIDTH) - middle_x - shift_x) / zoom + middle_x + BORDER_X
    return _interpolated(_interpolated(background, rows, axis=0), columns, axis=1)


def _interpolated(image: Image, places: Array, *, axis: int) -> Image:
    """Rows (axis 0) or columns (axis 1) of ``image`` at fractional ``places``, held inside it."""
    places = np.clip(places, 0.0, image.shape[axis] - 1.0)
    low = np.minimum(places.astype(int), image.shape[axis] - 2)
    part = (places - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    first = np.take(image, low, axis=axis)
    first += part * (np.take(image, low + 1, axis=axis) - first)
    return first


def _blurred(image: Image) -> Image:
    """One pass of a [1, 2, 1] / 4 filter in both directions, edges repeated."""
    tall = np.concatenate((image[:1], image, image[-1:]))
    rows = (tall[:-2] + 2 * image + tall[2:]) / 4
    wide = np.concatenate((rows[:, :1], rows, rows[:, -1:]), axis=1)
    result: Image = (wide[:, :-2] + 2 * rows + wide[:, 2:]) / 4
    return result
