"""What a video's name says: the source video that its clip was cut from, and HMDB51's tags.

The class is taken from the folder, because sources and classes hold underscores themselves.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from dataclasses import dataclass

from shared.classes import HMDB51_CLASSES
from shared.errors import UsageError

# HMDB51: <source>_<class>_<body>_<camera>_np<N>_<view>_<quality>_<index>
_HMDB51 = re.compile(
    r"(?P<head>.+)_(?P<body>[hufl])_(?P<camera>cm|nm)_np(?P<people>\d+)_(?P<view>fr|ba|le|ri)_"
    r"(?P<quality>goo|med|bad)_\d+(?:\D.*)?",  # and what a copy or a flipped, cut or scaled version adds
    re.DOTALL,
)
_HMDB51_LONGEST_FIRST = sorted(HMDB51_CLASSES, key=len, reverse=True)
# UCF101, and the sets named after it: v_<class>_g<group>_c<clip>. The clips of a group were cut from one video.
_UCF101 = re.compile(r"(v_.+_g\d+)_c\d+(?:\D.*)?", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
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


def parse_name(stem: str, *, class_name: str, source_pattern: str = "") -> NameTags:
    """Read source and tags from a file name without its suffix.

    The source is, in this order: what the first group of ``source_pattern`` finds, where there is a pattern and it
    finds something; with no pattern, what stands before ``_<class>_`` and the tags, where the whole name fits HMDB51's
    scheme; ``v_<class>_g<group>``, where the whole name fits UCF101's; else the whole stem.

    A name fits HMDB51's scheme with the class of its folder, or with one of HMDB51's where the folder bears another
    name, the longest that fits. What stands after the last number and begins with no digit, as in the names of copies
    and of flipped versions, belongs to neither scheme and changes no source. Raises UsageError for a bad pattern.
    """
    ucf101 = _UCF101.fullmatch(stem)
    tags = _hmdb51_tags(stem, class_name) or NameTags(source=ucf101[1] if ucf101 else stem)
    if not source_pattern:
        return tags
    return dataclasses.replace(tags, source=_found(source_pattern, stem, class_name) or stem)


def _hmdb51_tags(stem: str, class_name: str) -> NameTags | None:
    match = _HMDB51.fullmatch(stem)
    names = _HMDB51_LONGEST_FIRST
    if match is None or match["head"] in (class_name, *names):  # no source before the class
        return None
    for name in [class_name, *names] if class_name in names else sorted([*names, class_name], key=len, reverse=True):
        source = match["head"].removesuffix(f"_{name}")
        if source and source != match["head"]:
            return NameTags(
                source=source,
                body=match["body"],
                camera_motion=match["camera"],
                num_people=match["people"],
                viewpoint=match["view"],
                quality=match["quality"],
            )
    return None


def matches(source_pattern: str, stem: str, *, class_name: str) -> bool:
    """Whether the pattern finds a source in a name."""
    return bool(_found(source_pattern, stem, class_name))


def _found(source_pattern: str, stem: str, class_name: str) -> str | None:
    """What the first group finds. A pattern with a slash is searched in ``<class>/<stem>``, others in the stem."""
    pattern = compile_source_pattern(source_pattern)
    match = pattern.search(f"{class_name}/{stem}" if "/" in source_pattern else stem)
    return match[1] if match else None


@functools.lru_cache(maxsize=8)
def compile_source_pattern(text: str) -> re.Pattern[str]:
    """The regular expression of ``--source-pattern``. Raises UsageError where it is none, or has no group."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(f"--source-pattern {text} is no regular expression ({error}); mend it") from error
    if pattern.groups < 1:
        raise UsageError(
            f"--source-pattern {text} has no group; put brackets around what names the source, "
            r"such as '(person\d+)_'"
        )
    return pattern
