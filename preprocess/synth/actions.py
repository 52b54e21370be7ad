"""The actions of the embedded data set: how each class moves, what it holds, and from where it is seen.

Sit and stand, and throw and catch, are one movement each: the second class plays the frames of the first backwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from preprocess.synth.figure import (
    FOREARM,
    SHIN,
    THIGH,
    TORSO,
    UPPER_ARM,
    Arm,
    Array,
    Clock,
    Leg,
    Pose,
    Proportions,
    joints_of,
    keyframes,
)
from preprocess.synth.props import (
    STAIR_RISE,
    STAIR_RUN,
    Prop,
    bar,
    brush,
    chair,
    dribbled_ball,
    found_thing,
    stairs,
    thrown_ball,
)

GUARD = Arm(upper=0.35, upper_side=0.1, fore=2.2, fore_side=-0.1)


@dataclass(frozen=True, kw_only=True)
class Action:
    """How one class moves and is shown."""

    pose: Callable[[Clock], Pose]
    hertz: float = 1.0  # turns a second
    views: tuple[str, ...] = ("le", "ri")  # the viewpoints it is seen from, each as often as it shall come up
    props: Callable[[Array, Clock], tuple[Prop, ...]] | None = None
    close_up: bool = False  # whether it may be shown from the waist up
    backwards: bool = False  # whether the frames are played in reverse
    room_ahead: float = 0.0  # empty space that the picture must hold in front of the figure, in body heights


@dataclass(frozen=True, kw_only=True)
class Movement:
    """What happens in a clip: joints (n, 17, 3) and the things around them, in body axes."""

    joints: Array
    props: tuple[Prop, ...]


def movement_of(class_name: str, clock: Clock, proportions: Proportions) -> Movement:
    """Joints and things of one clip. A class that is another played backwards gives exactly its frames in reverse."""
    action = ACTIONS[class_name]
    joints = joints_of(action.pose(clock), proportions, num_frames=clock.num_frames)
    props = action.props(joints, clock) if action.props is not None else ()
    if not action.backwards:
        return Movement(joints=joints, props=props)
    flipped = tuple(replace(prop, start=prop.start[::-1], end=prop.end[::-1]) for prop in props)
    return Movement(joints=joints[::-1], props=flipped)


def _stride(clock: Clock, *, ahead: float, reach: float, knee: float, raised: float = 0.0) -> Leg:
    """One leg of a gait: it bends while it swings forward."""
    thigh = raised + reach * clock.amplitude * clock.swing(ahead)
    bend = 0.1 + knee * np.maximum(0.0, clock.swing(ahead + np.pi / 2 + 0.35)) ** 2
    return Leg(thigh=thigh, shin=thigh - bend, foot=np.pi / 2 + 0.5 * (thigh - bend))


def _walk(clock: Clock) -> Pose:
    def arm(ahead: float) -> Arm:
        upper = 0.45 * clock.amplitude * clock.swing(ahead)
        return Arm(upper=upper, fore=upper + 0.25)

    return Pose(
        leg_r=_stride(clock, ahead=0.0, reach=0.45, knee=0.75),
        leg_l=_stride(clock, ahead=np.pi, reach=0.45, knee=0.75),
        arm_r=arm(np.pi), arm_l=arm(0.0), forward=clock.way(0.8, 0.9),
    )  # fmt: skip


def _run(clock: Clock) -> Pose:
    def arm(ahead: float) -> Arm:
        upper = -0.15 + 0.8 * clock.amplitude * clock.swing(ahead)
        return Arm(upper=upper, fore=upper + 1.6, fore_side=-0.1)

    return Pose(
        leg_r=_stride(clock, ahead=0.0, reach=0.85, knee=1.7, raised=0.3),
        leg_l=_stride(clock, ahead=np.pi, reach=0.85, knee=1.7, raised=0.3),
        arm_r=arm(np.pi), arm_l=arm(0.0), lean=0.3, forward=clock.way(1.4, 1.0),
        lift=0.06 * np.abs(clock.swing(0.3)),
    )  # fmt: skip


def _sit(clock: Clock) -> Pose:
    down = keyframes(clock.progress, (0.0, 1.0), (0.0, 1.0))
    leg = Leg(thigh=1.5 * down, shin=-0.12 * np.sin(np.pi * down))
    arm = Arm(upper=0.35 * down, fore=0.15 + 1.1 * down)
    return Pose(leg_r=leg, leg_l=leg, arm_r=arm, arm_l=arm, lean=0.03 + 0.5 * np.sin(np.pi * down), feet_fixed=True)


def _throw(clock: Clock) -> Pose:
    times = (0.0, 0.34, 0.56, 1.0)
    upper = keyframes(clock.progress, times, (0.3, 2.9, 1.9, 0.5))
    fore = keyframes(clock.progress, times, (1.9, 4.4, 2.0, 0.6))
    step = keyframes(clock.progress, times, (0.0, 0.1, 0.5, 0.5))
    return Pose(
        arm_r=Arm(upper=upper, upper_side=0.25, fore=fore, fore_side=0.0),
        arm_l=Arm(upper=keyframes(clock.progress, times, (0.3, 1.3, 0.2, 0.1)), fore=0.5),
        leg_l=Leg(thigh=step, shin=step - 0.15), leg_r=Leg(thigh=-0.7 * step, shin=-0.9 * step),
        lean=keyframes(clock.progress, times, (0.03, -0.22, 0.25, 0.3)),
    )  # fmt: skip


def _wave(clock: Clock) -> Pose:
    side = 0.1 + 0.6 * clock.amplitude * clock.swing()
    return Pose(arm_r=Arm(upper=1.9, upper_side=0.95, fore=np.pi, fore_side=side))


def _jump(clock: Clock) -> Pose:
    turn = clock.cycles % 1.0
    crouch = keyframes(turn, (0.0, 0.28, 0.42, 0.78, 0.88, 1.0), (0.1, 0.9, 0.0, 0.0, 0.6, 0.1))
    flight = np.clip((turn - 0.42) / 0.36, 0.0, 1.0)
    reach = keyframes(turn, (0.0, 0.28, 0.48, 0.72, 1.0), (0.0, -0.8, 2.8, 2.6, 0.0))
    leg = Leg(thigh=1.2 * crouch, shin=-0.8 * crouch, foot=np.pi / 2 - 1.0 * np.sin(np.pi * flight))
    arm = Arm(upper=reach, upper_side=0.2, fore=reach + 0.2)
    height = 0.26 * clock.amplitude * 4 * flight * (1 - flight)
    return Pose(
        leg_r=leg, leg_l=leg, arm_r=arm, arm_l=arm, lean=0.7 * crouch, lift=height,
        forward=clock.way(0.35, 0.7), feet_fixed=True,
    )  # fmt: skip


def _pushup(clock: Clock) -> Pose:
    reach = 0.24 + 0.1 * clock.swing()
    bend = np.arccos(np.clip(reach / (UPPER_ARM + FOREARM), -1.0, 1.0))
    body = TORSO + THIGH + SHIN
    arm = Arm(upper=np.pi / 2 - bend, upper_side=0.15, fore=np.pi / 2 + bend)
    return Pose(arm_r=arm, arm_l=arm, lean=0.0, pitch=np.pi / 2 - np.arcsin((reach - 0.06) / body))


def _handstand(clock: Clock) -> Pose:
    apart = 0.3 * clock.amplitude * clock.swing()
    sway = 0.08 * clock.swing(1.0)

    def leg(bend: Array) -> Leg:
        return Leg(thigh=bend + sway, shin=bend - 0.15, foot=0.5)

    arm = Arm(upper=np.pi - sway, upper_side=0.12, fore=np.pi - sway)
    return Pose(arm_r=arm, arm_l=arm, leg_r=leg(apart), leg_l=leg(-apart), pitch=np.pi + sway)


def _cartwheel(clock: Clock) -> Pose:
    arm = Arm(upper=np.pi, upper_side=0.5, fore=np.pi, fore_side=0.45)
    leg = Leg(side=0.5, foot=0.6)
    roll = 2 * np.pi * clock.cycles
    return Pose(arm_r=arm, arm_l=arm, leg_r=leg, leg_l=leg, roll=roll, sideways=clock.way(0.6, 0.5), lean=0.0)


def _clap(clock: Clock) -> Pose:
    apart = 0.5 + 0.5 * clock.amplitude * clock.swing()
    arm = Arm(upper=0.5, upper_side=0.15 + 0.5 * apart, fore=1.75, fore_side=-0.65 + 0.85 * apart)
    return Pose(arm_r=arm, arm_l=arm)


def _punch(clock: Clock) -> Pose:
    def arm(ahead: float) -> Arm:
        out = np.maximum(0.0, clock.swing(ahead)) ** 1.5
        return Arm(upper=0.35 + 1.25 * out, upper_side=0.1, fore=2.2 - 0.6 * out, fore_side=-0.1)

    stance = (Leg(thigh=0.45, shin=0.0), Leg(thigh=-0.2, shin=-0.5))
    lean = 0.1 + 0.12 * clock.swing() ** 2
    return Pose(arm_r=arm(0.0), arm_l=arm(np.pi), leg_l=stance[0], leg_r=stance[1], lean=lean)


def _kick(clock: Clock) -> Pose:
    turn = clock.cycles % 1.0
    times = (0.0, 0.3, 0.45, 0.6, 1.0)
    thigh = keyframes(turn, times, (-0.1, -0.6, 1.7 * clock.amplitude, 1.2, -0.1))
    shin = keyframes(turn, times, (-0.2, -1.6, 1.6 * clock.amplitude, 0.3, -0.2))
    lean = keyframes(turn, times, (0.05, 0.15, -0.35, -0.2, 0.05))
    return Pose(leg_r=Leg(thigh=thigh, shin=shin, foot=shin + 0.9), arm_r=GUARD, arm_l=GUARD, lean=lean)


def _situp(clock: Clock) -> Pose:
    lean = -np.pi / 2 + 0.05 + 0.75 * (1 - clock.swing(np.pi / 2))
    leg = Leg(thigh=2.45, shin=0.65, foot=np.pi / 2)
    arm = Arm(upper=2.2, upper_side=0.3, fore=4.3, fore_side=0.1)
    return Pose(arm_r=arm, arm_l=arm, leg_r=leg, leg_l=leg, lean=lean)


def _pullup(clock: Clock) -> Pose:
    reach = 0.21 + 0.125 * clock.swing()
    bend = np.arccos(np.clip(reach / (UPPER_ARM + FOREARM), -1.0, 1.0))
    arm = Arm(upper=np.pi - bend, upper_side=0.2, fore=np.pi + bend, fore_side=0.0)
    leg = Leg(thigh=0.2, shin=-0.5 + 0.1 * clock.swing(), foot=0.6)
    return Pose(arm_r=arm, arm_l=arm, leg_r=leg, leg_l=leg, hangs=True)


def _pick(clock: Clock) -> Pose:
    down = keyframes(clock.progress, (0.0, 0.45, 0.55, 1.0), (0.0, 1.0, 1.0, 0.0))
    leg = Leg(thigh=0.85 * down, shin=-0.55 * down)
    up_after = keyframes(clock.progress, (0.0, 0.55, 1.0), (0.0, 0.0, 1.0))
    arm = Arm(upper=1.65 * down + 0.2 * up_after, fore=0.15 + 1.5 * down + 1.2 * up_after)
    other = Arm(upper=0.5 * down, fore=0.15 + 0.6 * down)
    return Pose(leg_r=leg, leg_l=leg, arm_r=arm, arm_l=other, lean=0.03 + 1.75 * down, feet_fixed=True)


def _brush_hair(clock: Clock) -> Pose:
    stroke = 0.5 + 0.5 * clock.swing()
    arm = Arm(upper=1.0 + 1.5 * stroke, upper_side=0.95, fore=np.pi, fore_side=-0.85)
    return Pose(arm_r=arm)


def _climb_stairs(clock: Clock) -> Pose:
    way = clock.way(2 * STAIR_RUN, 0.6)
    arm_r, arm_l = 0.4 * clock.swing(np.pi), 0.4 * clock.swing()
    return Pose(
        leg_r=_stride(clock, ahead=0.0, reach=0.5, knee=1.1, raised=0.45),
        leg_l=_stride(clock, ahead=np.pi, reach=0.5, knee=1.1, raised=0.45),
        arm_r=Arm(upper=arm_r, fore=arm_r + 0.5), arm_l=Arm(upper=arm_l, fore=arm_l + 0.5),
        lean=0.25, forward=way, lift=way * STAIR_RISE / STAIR_RUN,
    )  # fmt: skip


def _dribble(clock: Clock) -> Pose:
    press = 0.5 + 0.5 * clock.swing(np.pi / 2)
    leg_r, leg_l = Leg(thigh=0.2, shin=-0.4), Leg(thigh=0.65, shin=-0.15)
    arm = Arm(upper=0.15 + 0.25 * press, fore=0.9 + 0.6 * press)
    return Pose(arm_r=arm, arm_l=Arm(upper=-0.3, fore=0.6), leg_r=leg_r, leg_l=leg_l, lean=0.3)


_FRONT = ("fr", "fr", "half_le", "half_ri")
ACTIONS: dict[str, Action] = {
    "walk": Action(pose=_walk, hertz=0.95),
    "sit": Action(pose=_sit, props=chair),
    "stand": Action(pose=_sit, props=chair, backwards=True),
    "throw": Action(pose=_throw, props=thrown_ball, room_ahead=0.9),
    "catch": Action(pose=_throw, props=thrown_ball, backwards=True, room_ahead=0.9),
    "wave": Action(pose=_wave, hertz=1.3, views=_FRONT, close_up=True),
    "jump": Action(pose=_jump, hertz=0.8, views=("le", "ri", "fr")),
    "pushup": Action(pose=_pushup, hertz=0.7),
    "run": Action(pose=_run, hertz=1.5),
    "handstand": Action(pose=_handstand, hertz=0.5),
    "cartwheel": Action(pose=_cartwheel, hertz=0.7, views=("fr",)),
    "clap": Action(pose=_clap, hertz=1.6, views=_FRONT, close_up=True),
    "punch": Action(pose=_punch, hertz=1.1, close_up=True),
    "kick": Action(pose=_kick, hertz=0.8),
    "situp": Action(pose=_situp, hertz=0.6),
    "pullup": Action(pose=_pullup, hertz=0.6, props=bar, views=_FRONT),
    "pick": Action(pose=_pick, props=found_thing),
    "brush_hair": Action(pose=_brush_hair, hertz=0.9, props=brush, views=_FRONT, close_up=True),
    "climb_stairs": Action(pose=_climb_stairs, hertz=0.8, props=stairs),
    "dribble": Action(pose=_dribble, hertz=1.4, props=dribbled_ball),
}
