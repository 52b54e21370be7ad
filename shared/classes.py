"""Class names of HMDB51 and what its file names say about a video.

A name is ``<source>_<class>_<body>_<camera>_np<N>_<view>_<quality>_<index>.avi``; the class is taken from the folder,
because sources and classes hold underscores themselves.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from shared.checks import check_name
from shared.errors import DataError

HMDB51_CLASSES: tuple[str, ...] = (
    "brush_hair", "cartwheel", "catch", "chew", "clap", "climb", "climb_stairs", "dive", "draw_sword", "dribble",
    "drink", "eat", "fall_floor", "fencing", "flic_flac", "golf", "handstand", "hit", "hug", "jump",
    "kick", "kick_ball", "kiss", "laugh", "pick", "pour", "pullup", "punch", "push", "pushup",
    "ride_bike", "ride_horse", "run", "shake_hands", "shoot_ball", "shoot_bow", "shoot_gun", "sit", "situp", "smile",
    "smoke", "somersault", "stand", "swing_baseball", "sword", "sword_exercise", "talk", "throw", "turn", "walk",
    "wave",
)  # fmt: skip
HMDB51_NUM_VIDEOS = 6766
SYNTHETIC_MARKER = "synthetic.json"  # stands in a folder of videos that synth rendered

VIDEO_SUFFIXES: frozenset[str] = frozenset(
    {".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".ts", ".flv", ".ogv"}
)

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


@dataclass(frozen=True, kw_only=True)
class Video:
    """One video file below the videos folder. ``path`` is relative to it, with forward slashes."""

    path: str
    class_name: str
    num_bytes: int

    @property
    def stem(self) -> str:
        return Path(self.path).stem

    @property
    def clip_id(self) -> str:
        """``<class>/<file stem>``: the name of its clip everywhere."""
        return f"{self.class_name}/{self.stem}"


def find_videos(folder: Path) -> list[Video]:
    """List the videos in ``folder/<class>/``, sorted by path. Hidden files and folders are left out.

    Links that lead nowhere are listed with 0 bytes, so that they are quarantined and not lost. Raises DataError where
    the folder is absent, holds no class folders or no videos, or a name that no manifest can hold.
    """
    if not folder.is_dir():
        raise DataError(
            f"no folder of videos at {folder}; make one with `hmdb-prep synth` or `hmdb-prep fetch`, "
            "or name it with --videos"
        )
    class_folders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    videos = [video for class_folder in class_folders for video in _videos_of_class(class_folder)]
    for video in videos:
        _check_name(video.path)
    if videos:
        return sorted(videos, key=lambda video: video.path)
    if any(entry.suffix.lower() in VIDEO_SUFFIXES for entry in folder.iterdir()):
        raise DataError(f"{folder} holds videos but no class folders; move each video to {folder}/<class>/")
    raise DataError(f"no videos in {folder}/<class>/; expected files ending in {', '.join(sorted(VIDEO_SUFFIXES))}")


def _videos_of_class(class_folder: Path) -> list[Video]:
    return [
        Video(
            path=f"{class_folder.name}/{entry.name}",
            class_name=class_folder.name,
            num_bytes=entry.stat().st_size if entry.is_file() else 0,
        )
        for entry in class_folder.iterdir()
        if entry.suffix.lower() in VIDEO_SUFFIXES and not entry.name.startswith(".") and not entry.is_dir()
    ]


def _check_name(path: str) -> None:
    try:
        path.encode()
        check_name(path, num_parts=2)
    except UnicodeEncodeError as error:
        raise DataError(f"the name {os.fsencode(path)!r} is not UTF-8; rename the video") from error
    except ValueError as error:
        raise DataError(f"the name {error}; rename the video") from error


def is_synthetic(folder: Path) -> bool:
    """Whether a folder of videos was rendered by `hmdb-prep synth`: it bears the marker that synth writes first."""
    return (folder / SYNTHETIC_MARKER).is_file()
