"""Things beside the figures of the embedded data set: chair, ball, bar, brush, stairs.

Units and axes are those of ``figure``. A thing stands in every clip of its class; both classes of a pair have the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocess.synth.figure import BAR_HEIGHT, FOREARM, JOINT, SHIN, SOLE, THIGH, Array, Clock

STAIR_RISE, STAIR_RUN = 0.11, 0.2
BALL_RADIUS = 0.07


@dataclass(frozen=True, kw_only=True)
class Prop:
    """A thing beside the figure: a rod with round ends from ``start`` to ``end``, each (n, 3) in body axes."""

    start: Array
    end: Array
    radius: float
    bright: bool = False  # whether it is drawn in a colour of its own, before everything else
    fits: bool = True  # whether the picture must hold it; others may leave it


def chair(joints: Array, clock: Clock) -> tuple[Prop, ...]:
    """Seat, back and legs of a chair whose seat meets the thighs of the figure when it sits."""
    seat, front, back = SHIN + SOLE - 0.075, -0.06, -THIGH - 0.14

    def rod(x0: float, y0: float, x1: float, y1: float) -> Prop:
        return _still((x0, y0, 0.0), (x1, y1, 0.0), 0.028, clock.num_frames)

    return (
        rod(front, seat, back, seat), rod(back, seat, back - 0.05, seat + 0.36),
        rod(front, 0.03, front, seat), rod(back, 0.03, back, seat),
    )  # fmt: skip


def thrown_ball(joints: Array, clock: Clock) -> tuple[Prop, ...]:
    """A ball in the right hand until it is let go, then on a parabola ahead."""
    release = 0.5
    hand = joints[:, JOINT["hand_r"]] + (0.03, 0.04, 0.0)
    flown = np.maximum(0.0, clock.progress - release)
    start = np.array([np.interp(release, clock.progress, hand[:, axis]) for axis in range(3)])
    flight = start + np.stack((3.2 * flown, 0.5 * flown - 1.5 * flown**2, np.zeros_like(flown)), axis=-1)
    ball = np.where((clock.progress <= release)[:, None], hand, flight)
    return (Prop(start=ball, end=ball, radius=BALL_RADIUS, bright=True, fits=False),)


def dribbled_ball(joints: Array, clock: Clock) -> tuple[Prop, ...]:
    """A ball that bounces between the floor and the right hand, with the hand low as the ball leaves it."""
    hand = joints[:, JOINT["hand_r"]]
    part = (clock.cycles + 0.5) % 1.0
    fall = 1 - (2 * np.abs(part - 0.5)) ** 2
    top = hand[:, 1] - BALL_RADIUS - 0.02
    height = BALL_RADIUS + (top - BALL_RADIUS) * fall
    ball = np.stack((np.full_like(part, hand[:, 0].mean() + 0.02), height, hand[:, 2]), axis=-1)
    return (Prop(start=ball, end=ball, radius=BALL_RADIUS, bright=True),)


def bar(joints: Array, clock: Clock) -> tuple[Prop, ...]:
    height = BAR_HEIGHT + 0.02
    ends = ((0.0, height, -0.34), (0.0, height, 0.34))
    posts = [_still((0.0, 0.0, end[2]), end, 0.018, clock.num_frames) for end in ends]
    return (_still(*ends, 0.018, clock.num_frames), *posts)


def found_thing(joints: Array, clock: Clock) -> tuple[Prop, ...]:
    """A thing on the floor that goes with the right hand once the hand is down."""
    hand = joints[:, JOINT["hand_r"]]
    floor = np.array([np.interp(0.5, clock.progress, hand[:, axis]) for axis in range(3)])
    place = np.where((clock.progress < 0.5)[:, None], floor, hand)
    half = np.array((0.03, 0.0, 0.0))
    return (Prop(start=place - half, end=place + half, radius=0.045, bright=True),)


def brush(joints: Array, clock: Clock) -> tuple[Prop, ...]:
    hand, elbow = joints[:, JOINT["hand_r"]], joints[:, JOINT["elbow_r"]]
    ahead = (hand - elbow) / FOREARM
    return (Prop(start=hand, end=hand + 0.09 * ahead, radius=0.025, bright=True),)


def stairs(joints: Array, clock: Clock) -> tuple[Prop, ...]:
    """Steps under the whole way of the figure: treads and risers."""
    last = int(np.ceil(joints[..., 0].max() / STAIR_RUN)) + 1
    first = int(np.floor(joints[..., 0].min() / STAIR_RUN))
    rods: list[Prop] = []
    for step in range(first, last):
        x, y = step * STAIR_RUN, (step - 0.5) * STAIR_RISE
        rods.append(_still((x, y, 0.0), (x + STAIR_RUN, y, 0.0), 0.016, clock.num_frames))
        rods.append(_still((x, y - STAIR_RISE, 0.0), (x, y, 0.0), 0.016, clock.num_frames))
    return tuple(rods)


def _still(start: tuple[float, float, float], end: tuple[float, float, float], radius: float, num_frames: int) -> Prop:
    ends = [np.tile(np.array(end), (num_frames, 1)) for end in (start, end)]
    return Prop(start=ends[0], end=ends[1], radius=radius)
