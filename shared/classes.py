"""Class names of HMDB51 and what its file names say about a video.

A name is ``<source>_<class>_<body>_<camera>_np<N>_<view>_<quality>_<index>.avi``; the class is taken from the folder,
because sources and classes hold underscores themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HMDB51_CLASSES: tuple[str, ...] = (
    "brush_hair", "cartwheel", "catch", "chew", "clap", "climb", "climb_stairs", "dive", "draw_sword", "dribble",
    "drink", "eat", "fall_floor", "fencing", "flic_flac", "golf", "handstand", "hit", "hug", "jump",
    "kick", "kick_ball", "kiss", "laugh", "pick", "pour", "pullup", "punch", "push", "pushup",
    "ride_bike", "ride_horse", "run", "shake_hands", "shoot_ball", "shoot_bow", "shoot_gun", "sit", "situp", "smile",
    "smoke", "somersault", "stand", "swing_baseball", "sword", "sword_exercise", "talk", "throw", "turn", "walk",
    "wave",
)  # fmt: skip
HMDB51_NUM_VIDEOS = 6766

_TAGS = re.compile(
    r"(?P<body>[hufl])_(?P<camera>cm|nm)_np(?P<people>\d+)_(?P<view>fr|ba|le|ri)_(?P<quality>goo|med|bad)_\d+"
)


@dataclass(frozen=True, kw_only=True)
class NameTags:
    """What a file name says. The tags are empty where the name does not follow HMDB51's scheme."""

    source: str
    """The video that the clip was cut from."""
    body: str = ""
    """What is seen: h head, u upper body, f full body, l lower body."""
    camera_motion: str = ""
    """cm: the camera moves; nm: it does not."""
    num_people: str = ""
    """A decimal number."""
    viewpoint: str = ""
    """fr front, ba back, le left, ri right."""
    quality: str = ""
    """goo, med or bad."""


def parse_name(stem: str, *, class_name: str) -> NameTags:
    """Read source and tags from a file name without its suffix.

    The source is what stands before the last ``_<class_name>_``, the whole stem where that is absent.
    """
    source, separator, rest = stem.rpartition(f"_{class_name}_")
    if not separator:
        return NameTags(source=stem)
    match = _TAGS.fullmatch(rest)
    if match is None:
        return NameTags(source=source)
    return NameTags(
        source=source,
        body=match["body"],
        camera_motion=match["camera"],
        num_people=match["people"],
        viewpoint=match["view"],
        quality=match["quality"],
    )
