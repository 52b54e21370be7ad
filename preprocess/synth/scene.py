"""Draws the clips of the embedded data set: backgrounds, rods, light, blur and noise, down to RGB frames.

Images are held as three planes, float32 (3, H, W) in [0, 255]: arithmetic on boxes of them is about twice as fast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preprocess.synth.figure import Array
from preprocess.synth.specs import FRAMES_PER_SECOND, ClipSpec
from preprocess.synth.stage import HEIGHT, WIDTH, Drawing, Rod, drawing_of

Image = NDArray[np.float32]

# Room around the picture for a camera that moves: its largest shift at its smallest zoom, and a pixel.
BORDER_X, BORDER_Y = 46, 28
_NOISE_BORDER = 32
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


def render_clip(spec: ClipSpec) -> NDArray[np.uint8]:
    """Draw every frame of a clip: uint8 (n, 240, 320, 3) RGB, a pure function of ``spec``."""
    drawing = drawing_of(spec)
    rng = np.random.default_rng([spec.seed, 5, spec.index])
    background = background_of(spec)
    light = _light(spec, rng)
    grain = _grain(spec, rng)
    rods = [*drawing.figure, *drawing.things, *_distractors(spec, drawing, rng)]
    rods.sort(key=lambda rod: float(rod.depth.mean()))
    places = rng.integers(0, _NOISE_BORDER, (spec.num_frames, 2))
    frames = np.empty((spec.num_frames, 3, HEIGHT, WIDTH), np.uint8)
    still = None if spec.camera_moves else _seen(background, drawing.camera[0])
    for index in range(spec.num_frames):
        image = _seen(background, drawing.camera[index]) if still is None else still.copy()
        for rod in rods:
            draw_rod(image, rod, index)
        if light is not None:
            image *= light[index]
        for _ in range(spec.blur):
            image = _blurred(image)
        if grain is not None:
            y, x = places[index]
            image += grain[:, y : y + HEIGHT, x : x + WIDTH]
        np.clip(image, 0.0, 255.0, out=image)
        np.rint(image, out=image)
        frames[index] = image
    return np.moveaxis(frames, 1, -1)


def draw_rod(image: Image, rod: Rod, index: int) -> None:
    """Paint one rod of frame ``index`` over ``image`` (3, H, W) in place; edges are a pixel soft.

    The distance is that to the rod's axis less the radius at the nearest point of it.
    """
    (x0, y0), (x1, y1) = rod.start[index], rod.end[index]
    r0, r1 = float(rod.start_radius[index]), float(rod.end_radius[index])
    left, right = int(max(0.0, min(x0 - r0, x1 - r1) - 1)), int(min(image.shape[2], max(x0 + r0, x1 + r1) + 2))
    top, bottom = int(max(0.0, min(y0 - r0, y1 - r1) - 1)), int(min(image.shape[1], max(y0 + r0, y1 + r1) + 2))
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right, dtype=np.float32) - np.float32(x0)
    y = (np.arange(top, bottom, dtype=np.float32) - np.float32(y0))[:, None]
    dx, dy = np.float32(x1 - x0), np.float32(y1 - y0)
    share = 1 / np.float32(max(float(dx * dx + dy * dy), 1e-6))
    along = np.minimum(np.maximum(x * (dx * share) + y * (dy * share), _ZERO), _ONE)
    across, down = x - along * dx, y - along * dy
    distance = np.sqrt(across * across + down * down) - (np.float32(r0) + along * np.float32(r1 - r0))
    cover = np.minimum(np.maximum(np.float32(0.5) - distance, _ZERO), _ONE)
    box = image[:, top:bottom, left:right]
    box += cover * (rod.colour[index].astype(np.float32)[:, None, None] - box)


def background_of(spec: ClipSpec) -> Image:
    """The scene without the figure, with room around the picture: float32 (3, H + 2 border, W + 2 border).

    It belongs to the source: every clip of one actor in one scene has the same.
    """
    source = spec.source
    height, width = HEIGHT + 2 * BORDER_Y, WIDTH + 2 * BORDER_X
    down = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
    top, bottom = (np.array(colour, np.float32)[:, None, None] for colour in (source.top, source.bottom))
    image = np.broadcast_to(top + down * (bottom - top), (3, height, width)).copy()
    rng = np.random.default_rng([source.seed, 6])
    if spec.difficulty == "moving":
        _add_texture(image, rng, strength=10.0)
    if spec.difficulty == "cluttered":
        _add_texture(image, rng, strength=28.0)
        _add_clutter(image, rng)
    return np.clip(image, 0.0, 255.0)


def _add_texture(image: Image, rng: np.random.Generator, *, strength: float) -> None:
    """Add smooth random patches of three sizes, half as strong at each halving of their size."""
    _, height, width = image.shape
    for octave, cells in enumerate((5, 12, 30)):
        coarse = rng.normal(0.0, strength / 2**octave, (3, cells + 1, cells + 1)).astype(np.float32)
        rows = _interpolated(coarse, np.linspace(0.0, cells, height), axis=1)
        image += _interpolated(rows, np.linspace(0.0, cells, width), axis=2)


def _add_clutter(image: Image, rng: np.random.Generator) -> None:
    """Draw still rods and discs of all colours: the things that stand about in a scene."""
    _, height, width = image.shape
    for _ in range(int(rng.integers(10, 22))):
        start = rng.uniform((0.0, 0.0), (width, height))
        length = rng.choice((0.0, 1.0)) * rng.uniform(30, 140)
        angle = rng.uniform(0, 2 * np.pi)
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        draw_rod(image, _plain_rod(start[None], end[None], rng.uniform(3, 22), rng.uniform(30, 225, 3)), 0)


def _plain_rod(start: Array, end: Array, radius: float, colour: Array, depth: float = 0.0) -> Rod:
    count = len(start)
    radii = np.full(count, radius)
    return Rod(
        start=start, end=end, start_radius=radii, end_radius=radii,
        colour=np.tile(colour, (count, 1)), depth=np.full(count, depth),
    )  # fmt: skip


def _distractors(spec: ClipSpec, drawing: Drawing, rng: np.random.Generator) -> list[Rod]:
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
        shift = drawing.camera[:, :2]
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
    shape = (3, HEIGHT + _NOISE_BORDER, WIDTH + _NOISE_BORDER)
    return np.float32(spec.noise) * rng.standard_normal(shape, dtype=np.float32)


def _seen(background: Image, camera: Array) -> Image:
    """The part of the background that the camera shows (3, 240, 320), interpolated linearly."""
    shift_x, shift_y, zoom = camera
    middle_x, middle_y = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    rows = (np.arange(HEIGHT) - middle_y - shift_y) / zoom + middle_y + BORDER_Y
    columns = (np.arange(WIDTH) - middle_x - shift_x) / zoom + middle_x + BORDER_X
    return _interpolated(_interpolated(background, rows, axis=1), columns, axis=2)


def _interpolated(image: Image, places: Array, *, axis: int) -> Image:
    """Rows (axis 1) or columns (axis 2) of ``image`` at fractional ``places``, held inside it."""
    places = np.clip(places, 0.0, image.shape[axis] - 1.0)
    low = np.minimum(places.astype(int), image.shape[axis] - 2)
    part = (places - low).astype(np.float32).reshape((-1, 1) if axis == 1 else (-1,))
    first: Image = np.take(image, low, axis=axis)
    second: Image = np.take(image, low + 1, axis=axis)
    second -= first
    second *= part
    first += second
    return first


def _blurred(image: Image) -> Image:
    """One pass of a [1, 2, 1] / 4 filter in both directions, edges repeated."""
    for axis in (1, 2):
        last = image.shape[axis] - 1
        padded = np.take(image, np.clip(np.arange(-1, last + 2), 0, last), axis=axis)
        before, after = (padded[:, :-2], padded[:, 2:]) if axis == 1 else (padded[..., :-2], padded[..., 2:])
        image = before + after
        image += 2 * (padded[:, 1:-1] if axis == 1 else padded[..., 1:-1])
        image *= np.float32(0.25)
    return image
