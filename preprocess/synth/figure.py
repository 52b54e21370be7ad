"""A stick figure in three dimensions: the angles of a pose, and where its joints are.

Body axes: x forward, y up, z to the figure's right; unit: the height of the standing figure. Every array runs over
the n frames of a clip. Angles are radians: 0 lets a limb hang down, positive bends it forward (pi/2 ahead, pi up).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Angle = Array | float

JOINTS = (
    "pelvis", "neck", "head",
    "shoulder_r", "elbow_r", "hand_r", "shoulder_l", "elbow_l", "hand_l",
    "hip_r", "knee_r", "ankle_r", "toe_r", "hip_l", "knee_l", "ankle_l", "toe_l",
)  # fmt: skip
JOINT = {name: index for index, name in enumerate(JOINTS)}

UPPER_ARM, FOREARM, THIGH, SHIN, FOOT, TORSO, NECK = 0.17, 0.18, 0.24, 0.24, 0.09, 0.31, 0.12
SHOULDER_HALF_WIDTH, HIP_HALF_WIDTH = 0.105, 0.055
SOLE = 0.03  # half the thickness of a foot or hand: joints keep this distance from the floor
BAR_HEIGHT = 1.32


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Directions of upper arm and forearm seen from the torso; ``side`` angles lead away from the body."""

    upper: Angle = 0.0
    upper_side: Angle = 0.08
    fore: Angle = 0.15
    fore_side: Angle = 0.05


@dataclass(frozen=True, kw_only=True)
class Leg:
    """Directions of thigh, shin and foot seen from the pelvis; ``side`` spreads the leg; a foot at pi/2 stands flat."""

    thigh: Angle = 0.0
    shin: Angle = 0.0
    side: Angle = 0.04
    foot: Angle = np.pi / 2


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Angles, and displacement in body heights, of a whole clip: each is one number or an array (n,)."""

    arm_r: Arm = field(default_factory=Arm)
    arm_l: Arm = field(default_factory=Arm)
    leg_r: Leg = field(default_factory=Leg)
    leg_l: Leg = field(default_factory=Leg)
    pitch: Angle = 0.0  # turns the whole body forward
    roll: Angle = 0.0  # turns the whole body to its right
    lean: Angle = 0.03  # bends the torso only
    lift: Angle = 0.0  # how far the lowest joint is above the floor
    forward: Angle = 0.0
    sideways: Angle = 0.0
    feet_fixed: bool = False  # whether the ankles, not the pelvis, stay at x = 0
    hangs: bool = False  # whether the figure hangs by its hands from the bar


@dataclass(frozen=True, kw_only=True)
class Proportions:
    """Body of one actor: factors on the lengths of arms, legs and torso, and on the thickness of everything."""

    arm: float = 1.0
    leg: float = 1.0
    torso: float = 1.0
    thickness: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Time of one clip."""

    cycles: Array  # (n,): turns done of a repeated movement
    progress: Array  # (n,): 0 to 1, of a movement that happens once
    amplitude: float  # factor on how far limbs swing
    travel: float  # share of the way that the figure really moves, 0 to 1

    @property
    def num_frames(self) -> int:
        return int(self.cycles.size)

    def swing(self, ahead: float = 0.0) -> Array:
        """Sine of the cycle, ``ahead`` radians early."""
        return np.sin(2 * np.pi * self.cycles + ahead)

    def way(self, per_cycle: float, longest: float) -> Array:
        """Distance (n,) walked at ``per_cycle`` body heights a turn, slowed to cover at most ``longest`` in all."""
        distance = per_cycle * (self.cycles - self.cycles[0])
        slowed: Array = self.travel * distance * min(1.0, longest / max(float(distance[-1]), 1e-9))
        return slowed


def keyframes(progress: Array, times: Sequence[float], values: Sequence[float]) -> Array:
    """Values at ``times``, joined by smooth steps 3s^2 - 2s^3 that rest at each of them."""
    at = np.clip(np.searchsorted(times, progress, side="right") - 1, 0, len(times) - 2)
    start, end = np.asarray(times)[at], np.asarray(times)[at + 1]
    step = np.clip((progress - start) / (end - start), 0.0, 1.0)
    low, high = np.asarray(values)[at], np.asarray(values)[at + 1]
    result: Array = low + (high - low) * step * step * (3 - 2 * step)
    return result


def joints_of(pose: Pose, proportions: Proportions, *, num_frames: int) -> Array:
    """Place the joints of a pose: float64 (n, 17, 3) in body axes, in the order of ``JOINTS``."""
    origin = np.zeros((num_frames, 3))
    torso = _pitched(_pointing(np.pi, 0.0, num_frames), pose.lean)
    joints = np.empty((num_frames, len(JOINTS), 3))
    joints[:, JOINT["pelvis"]] = origin
    joints[:, JOINT["neck"]] = neck = TORSO * proportions.torso * torso
    joints[:, JOINT["head"]] = neck + NECK * torso
    for side, sign, arm, leg in (("r", 1.0, pose.arm_r, pose.leg_r), ("l", -1.0, pose.arm_l, pose.leg_l)):
        joints[:, JOINT[f"shoulder_{side}"]] = shoulder = neck + np.array((0.0, 0.0, sign * SHOULDER_HALF_WIDTH))
        upper = _pitched(_pointing(arm.upper, arm.upper_side, num_frames, sign), pose.lean)
        fore = _pitched(_pointing(arm.fore, arm.fore_side, num_frames, sign), pose.lean)
        joints[:, JOINT[f"elbow_{side}"]] = elbow = shoulder + UPPER_ARM * proportions.arm * upper
        joints[:, JOINT[f"hand_{side}"]] = elbow + FOREARM * proportions.arm * fore
        joints[:, JOINT[f"hip_{side}"]] = hip = origin + np.array((0.0, 0.0, sign * HIP_HALF_WIDTH))
        knee = hip + THIGH * proportions.leg * _pointing(leg.thigh, leg.side, num_frames, sign)
        ankle = knee + SHIN * proportions.leg * _pointing(leg.shin, leg.side, num_frames, sign)
        joints[:, JOINT[f"knee_{side}"]], joints[:, JOINT[f"ankle_{side}"]] = knee, ankle
        joints[:, JOINT[f"toe_{side}"]] = ankle + FOOT * _pointing(leg.foot, 0.0, num_frames, sign)
    return _supported(_rolled(_pitched(joints, pose.pitch), pose.roll), pose)


def _pointing(angle: Angle, side: Angle, num_frames: int, sign: float = 1.0) -> Array:
    """Unit vectors (n, 3) that hang down at 0, point ahead at pi/2 and lead outwards by ``side``."""
    bend = np.broadcast_to(np.asarray(angle, np.float64), num_frames)
    out = np.broadcast_to(np.asarray(side, np.float64), num_frames)
    return np.stack((np.sin(bend) * np.cos(out), -np.cos(bend) * np.cos(out), sign * np.sin(out)), axis=-1)


def _pitched(points: Array, angle: Angle) -> Array:
    """Turn (n, ..., 3) forward about the lateral axis, frame by frame."""
    cosine, sine = _turn(points, angle)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack((x * cosine + y * sine, y * cosine - x * sine, z), axis=-1)


def _rolled(points: Array, angle: Angle) -> Array:
    """Turn (n, ..., 3) to the figure's right about the forward axis, frame by frame."""
    cosine, sine = _turn(points, angle)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack((x, y * cosine - z * sine, z * cosine + y * sine), axis=-1)


def _turn(points: Array, angle: Angle) -> tuple[Array, Array]:
    per_frame = np.broadcast_to(np.asarray(angle, np.float64), points.shape[:1])
    per_frame = per_frame.reshape(-1, *([1] * (points.ndim - 2)))
    return np.cos(per_frame), np.sin(per_frame)


def _supported(joints: Array, pose: Pose) -> Array:
    """Put the figure on the floor or under the bar, and move it as the pose says."""
    placed = joints.copy()
    if pose.feet_fixed:
        ankles = joints[:, [JOINT["ankle_r"], JOINT["ankle_l"]], 0].mean(axis=1)
        placed[..., 0] -= ankles[:, None]
    if pose.hangs:
        hands = joints[:, [JOINT["hand_r"], JOINT["hand_l"]]].mean(axis=1)
        placed[..., 0] -= hands[:, None, 0]
        placed[..., 1] += BAR_HEIGHT - hands[:, None, 1]
    else:
        placed[..., 1] += SOLE - joints[..., 1].min(axis=1, keepdims=True)
    shifts = np.stack(np.broadcast_arrays(pose.forward, pose.lift, pose.sideways), axis=-1)
    placed += shifts if shifts.ndim == 1 else shifts[:, None, :]
    return placed
