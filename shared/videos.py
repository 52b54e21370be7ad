"""The videos of a folder: which files are videos, and to which class each belongs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from shared.checks import check_name
from shared.errors import DataError

SYNTHETIC_MARKER = "synthetic.json"  # stands in a folder of videos that synth rendered

VIDEO_SUFFIXES: frozenset[str] = frozenset(
    {".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".ts", ".flv", ".ogv"}
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
