"""Looks at the machine and at what is on its disks: GPU memory, free space, how many videos there are."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from scripts.hmdb51.estimate import ARCHIVE_BYTES, Source
from scripts.hmdb51.options import Options
from shared.classes import HMDB51_NUM_VIDEOS
from shared.videos import VIDEO_SUFFIXES

_ASK_TORCH = "import torch; print(torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0)"


def gpu_gigabytes() -> float:
    """Memory of the first GPU that torch can use, in 10^9 bytes; 0 where there is none."""
    done = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, check=False)
    text = done.stdout.strip()
    return int(text) / 1e9 if text.isdigit() else 0.0


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.expanduser().absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def free_bytes(path: Path) -> int:
    """Free space of the disk on which a file or folder lies or will lie."""
    return shutil.disk_usage(existing(path)).free


def disk_of(path: Path) -> int:
    """A number that is the same for all paths of one disk."""
    return existing(path).stat().st_dev


def folder_bytes(path: Path) -> int:
    """Bytes of all files below a folder that may not exist."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def look_at_source(options: Options) -> Source:
    """What is known of SOURCE: videos are counted where they can be, else it is taken for all of HMDB51."""
    path = Path(options.source).expanduser()
    if path.is_dir():  # it may hold archives
        return Source(kind="folder", num_bytes=folder_bytes(path), num_clips=_videos_below(path) or HMDB51_NUM_VIDEOS)
    if path.is_file():
        return Source(kind="archive", num_bytes=path.stat().st_size, num_clips=_videos_in(path))
    present = _videos_below(Path(options.videos))
    return Source(kind="remote", num_bytes=ARCHIVE_BYTES, num_clips=present or HMDB51_NUM_VIDEOS)


def _videos_in(archive: Path) -> int:
    """How many videos a .zip lists; of other archives as many as HMDB51 has in so many bytes."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            if listed := sum(_is_video(name) for name in opened.namelist()):
                return listed
    return max(1, round(HMDB51_NUM_VIDEOS * archive.stat().st_size / ARCHIVE_BYTES))


def _videos_below(path: Path) -> int:
    """How many video files a folder holds, however deep; 0 where it does not exist."""
    return sum(_is_video(file.name) for file in path.rglob("*"))


def _is_video(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES
