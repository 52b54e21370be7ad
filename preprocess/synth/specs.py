"""Plans the clips of the embedded data set: classes, counts, sources, actors, and every parameter of a clip.

All of it is a pure function of the parameters of the set; nothing is drawn here.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from preprocess.synth.actions import ACTIONS
from preprocess.synth.figure import Proportions
from shared.errors import UsageError

Difficulty = Literal["plain", "moving", "cluttered"]
Quality = Literal["goo", "med", "bad"]
Colour = tuple[float, float, float]

DIFFICULTIES: tuple[Difficulty, ...] = get_args(Difficulty)
QUALITIES: tuple[Quality, ...] = get_args(Quality)
DEFAULT_NUM_CLIPS = 400
DEFAULT_NUM_CLASSES = 10
MAX_CLASSES = len(ACTIONS)
MIN_CLIPS_PER_CLASS = 2
FRAMES_PER_SECOND = 30.0

_CLIPS_PER_SOURCE = 8
_HEAD_WEIGHT, _TAIL_WEIGHT = 3.0, 1.0 / 3.0  # walk and the rarest class, relative to the median class
_SHORT_SHARE, _LONG_SHARE, _MP4_SHARE = 0.02, 0.1, 0.15
_PLACES = (
    "Park", "Street", "Beach", "Gym", "Hall", "Garden", "Kitchen", "Office", "Yard", "Studio", "Station", "Rooftop",
)  # fmt: skip
_YAW = {"ri": 0.0, "half_ri": np.pi / 2 - 0.7, "fr": np.pi / 2, "half_le": np.pi / 2 + 0.7, "le": np.pi}
_QUALITY_SHARES: dict[Difficulty, tuple[float, float, float]] = {
    "plain": (0.85, 0.15, 0.0), "moving": (0.5, 0.4, 0.1), "cluttered": (0.2, 0.5, 0.3),
}  # fmt: skip
_MOVING_SHARE: dict[Difficulty, float] = {"plain": 0.0, "moving": 0.85, "cluttered": 0.7}


@dataclass(frozen=True, kw_only=True)
class SetParameters:
    """What a whole set is a function of."""

    num_clips: int = DEFAULT_NUM_CLIPS
    num_classes: int = DEFAULT_NUM_CLASSES
    difficulty: Difficulty = "plain"
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Source:
    """One actor in one scene. Colours are RGB in [0, 255]."""

    name: str
    seed: int
    proportions: Proportions
    shirt: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    furniture: Colour
    top: Colour  # of the background, as ``bottom`` is
    bottom: Colour


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """Everything that the pixels of one clip follow from."""

    index: int
    seed: int
    class_name: str
    index_in_source: int
    source: Source
    difficulty: Difficulty
    suffix: Literal[".avi", ".mp4"]
    num_frames: int
    yaw: float
    """Direction that the figure faces, radians: 0 to the right of the picture, pi/2 to the camera, pi to the left."""
    mirrored: bool
    close_up: bool
    height: float  # of the standing figure, as a share of the picture's
    place: float  # where the figure stands: 0 left, 1 right
    tempo: float  # factor on the pace
    amplitude: float  # factor on how far limbs swing
    travel: float  # share of the way that the figure really moves, 0 to 1
    start_cycle: float  # phase of a repeated movement, in turns
    transition_frames: float  # length of a movement that happens once
    transition_offset: float  # frames that its middle comes after the clip's
    quality: Quality
    noise: float  # standard deviation, grey levels
    blur: int  # passes of a [1, 2, 1] filter
    camera_moves: bool

    @property
    def view(self) -> str:
        """HMDB51's view tag: le or ri if the figure faces that side of the picture, fr if it faces the camera."""
        aside = float(np.cos(self.yaw))
        if abs(aside) < np.sqrt(0.5):
            return "fr"
        return "ri" if aside > 0 else "le"

    @property
    def stem(self) -> str:
        """File name without suffix, in HMDB51's scheme."""
        body, camera = ("u" if self.close_up else "f"), ("cm" if self.camera_moves else "nm")
        tags = f"{body}_{camera}_np1_{self.view}_{self.quality}_{self.index_in_source}"
        return f"{self.source.name}_{self.class_name}_{tags}"

    @property
    def clip_id(self) -> str:
        return f"{self.class_name}/{self.stem}"

    @property
    def path(self) -> str:
        """Below the videos folder, with forward slashes."""
        return self.clip_id + self.suffix


def class_counts(num_clips: int, num_classes: int) -> dict[str, int]:
    """Clips of each class, walk first: three times the median class, the rarest a third of it; pairs are of one size.

    Raises UsageError for fewer than 2 clips a class, or more classes than there are.
    """
    if not 2 <= num_classes <= MAX_CLASSES:
        raise UsageError(f"--classes {num_classes} is out of range; give 2 to {MAX_CLASSES}")
    if num_clips < MIN_CLIPS_PER_CLASS * num_classes:
        least = MIN_CLIPS_PER_CLASS * num_classes
        raise UsageError(f"--clips {num_clips} is too few for {num_classes} classes; give at least {least}")
    names = list(ACTIONS)[:num_classes]
    weights = np.geomspace(1.8, _TAIL_WEIGHT, num_classes)
    for place, name in enumerate(names):
        if ACTIONS[name].backwards:
            weights[place - 1 : place + 1] = weights[place - 1 : place + 1].mean()
    weights[0] = weights[1:].max()  # for the median: walk is above it, whatever its number
    weights /= np.median(weights)
    weights[0] = _HEAD_WEIGHT
    if num_classes > 3 and not ACTIONS[names[-1]].backwards:
        weights[-1] = _TAIL_WEIGHT
    floor = min(4, num_clips // (2 * num_classes))
    counts = np.maximum(floor, np.floor(weights * num_clips / weights.sum())).astype(int)
    counts[0] += num_clips - counts.sum()
    return dict(zip(names, counts.tolist(), strict=True))


def clip_specs(parameters: SetParameters) -> tuple[ClipSpec, ...]:
    """Plan every clip of a set, ordered by class. Raises UsageError for parameters out of range."""
    if parameters.difficulty not in DIFFICULTIES:
        raise UsageError(f"--difficulty {parameters.difficulty!r} is unknown; give one of {', '.join(DIFFICULTIES)}")
    if parameters.seed < 0:
        raise UsageError(f"--seed {parameters.seed} is negative; give 0 or more")
    counts = class_counts(parameters.num_clips, parameters.num_classes)
    names = [name for name, count in counts.items() for _ in range(count)]
    sources = _sources(parameters)
    order = _source_order(parameters, len(sources))
    seen: dict[tuple[str, int], int] = {}
    specs = []
    for index, (name, which) in enumerate(zip(names, order, strict=True)):
        nth = seen.get((name, which), 0)
        seen[name, which] = nth + 1
        specs.append(_clip(parameters, index, name, sources[which], nth))
    return tuple(specs)


def _source_order(parameters: SetParameters, num_sources: int) -> list[int]:
    """Source of each clip: all of them in a new order, again and again, so that a class meets as many as it can."""
    rng = np.random.default_rng([parameters.seed, 1])
    rounds = -(-parameters.num_clips // num_sources)
    order = [which for _ in range(rounds) for which in rng.permutation(num_sources).tolist()]
    return order[: parameters.num_clips]


def _sources(parameters: SetParameters) -> list[Source]:
    num_sources = max(4, parameters.num_clips // _CLIPS_PER_SOURCE)
    return [_source(parameters, index) for index in range(num_sources)]


def _source(parameters: SetParameters, index: int) -> Source:
    """One actor and scene. Figures are darker than plain backgrounds; elsewhere either may be the brighter."""
    rng = np.random.default_rng([parameters.seed, 2, index])
    factors = rng.uniform((0.92, 0.94, 0.94, 0.95), (1.08, 1.06, 1.06, 1.3))
    proportions = Proportions(arm=factors[0], leg=factors[1], torso=factors[2], thickness=factors[3])
    hue = rng.uniform()
    clothes = [_colour(rng.uniform(), rng.uniform(0.5, 1.0), rng.uniform(0.25, 0.6)) for _ in range(2)]
    skin = _colour(rng.uniform(0.04, 0.09), rng.uniform(0.45, 0.65), rng.uniform(0.35, 0.65))
    hair = _colour(rng.uniform(0.02, 0.12), rng.uniform(0.3, 0.8), rng.uniform(0.08, 0.4))
    value = rng.uniform(0.78, 0.95) if parameters.difficulty == "plain" else rng.uniform(0.35, 0.95)
    saturation = rng.uniform(0.05, 0.4)
    slope = rng.uniform(-0.09, 0.09)
    place = _PLACES[int(rng.integers(len(_PLACES)))]
    return Source(
        name=f"Actor{index + 1:02d}_{place}", seed=int(rng.integers(2**31)), proportions=proportions,
        shirt=clothes[0], trousers=clothes[1], skin=skin, hair=hair,
        furniture=_colour(rng.uniform(0.04, 0.12), rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.6)),
        top=_colour(hue, saturation, value + slope), bottom=_colour(hue + 0.04, saturation, value - slope),
    )  # fmt: skip


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, min(value, 1.0))
    return (255 * red, 255 * green, 255 * blue)


def _clip(parameters: SetParameters, index: int, class_name: str, source: Source, nth: int) -> ClipSpec:
    """Draw one clip; what is drawn does not depend on the class, but for the choice of views and close-ups."""
    rng = np.random.default_rng([parameters.seed, 3, index])
    action = ACTIONS[class_name]
    num_frames = _length(rng)
    view = action.views[int(rng.integers(len(action.views)))]
    quality = QUALITIES[int(rng.choice(3, p=_QUALITY_SHARES[parameters.difficulty]))]
    low, high, blur = {"goo": (0.0, 2.0, 0), "med": (3.0, 6.0, 1), "bad": (8.0, 14.0, 2)}[quality]
    transition = float(np.clip(num_frames * rng.uniform(0.5, 0.85), 20, 60))
    return ClipSpec(
        index=index, seed=parameters.seed, class_name=class_name, index_in_source=nth, source=source,
        difficulty=parameters.difficulty, num_frames=num_frames,
        suffix=".mp4" if rng.uniform() < _MP4_SHARE else ".avi",
        yaw=_YAW[view] + float(rng.uniform(-0.3, 0.3)), mirrored=bool(rng.uniform() < 0.5),
        close_up=bool(rng.uniform() < 0.2) and action.close_up,
        height=float(rng.uniform(0.62, 0.8)), place=float(rng.uniform()), tempo=float(rng.uniform(0.8, 1.25)),
        amplitude=float(rng.uniform(0.85, 1.12)), travel=float(rng.uniform(0.1, 1.0)),
        start_cycle=float(rng.uniform()), transition_frames=transition,
        transition_offset=float(rng.uniform(-0.1, 0.1)) * num_frames,
        quality=quality, noise=float(rng.uniform(low, high)), blur=blur,
        camera_moves=bool(rng.uniform() < _MOVING_SHARE[parameters.difficulty]),
    )  # fmt: skip


def _length(rng: np.random.Generator) -> int:
    """Frames of a clip: 20 to 110, mostly about 60; one in fifty is shorter than 16."""
    kind = rng.uniform()
    if kind < _SHORT_SHARE:
        return int(rng.integers(6, 16))
    if kind > 1 - _LONG_SHARE:
        return int(rng.integers(80, 111))
    return int(np.clip(round(rng.normal(60, 13)), 20, 110))
