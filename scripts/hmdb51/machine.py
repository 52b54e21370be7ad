"""Looks at the machine and at what is on its disks: GPU memory, free space, how many videos there are."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from scripts.hmdb51.estimate import ARCHIVE_BYTES
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


def num_clips(options: Options) -> int:
    """How many videos there are or will be: counted where they can be, else all of HMDB51, or by an archive's size."""
    source = Path(options.source).expanduser()
    if source.is_dir():
        return _videos_below(source) or HMDB51_NUM_VIDEOS  # it may hold archives
    if not source.is_file():
        return _videos_below(Path(options.videos)) or HMDB51_NUM_VIDEOS
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            listed = sum(_is_video(name) for name in archive.namelist())
        if listed:
            return listed
    return max(1, round(HMDB51_NUM_VIDEOS * source.stat().st_size / ARCHIVE_BYTES))


def source_bytes(options: Options) -> float:
    """Size of the source; that of HMDB51's archive where it is not here yet."""
    source = Path(options.source).expanduser()
    if source.is_dir():
        return folder_bytes(source)
    return source.stat().st_size if source.is_file() else ARCHIVE_BYTES


def _videos_below(path: Path) -> int:
    """How many video files a folder holds, however deep; 0 where it does not exist."""
    return sum(_is_video(file.name) for file in path.rglob("*"))


def _is_video(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES
