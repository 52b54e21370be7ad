"""What a road will take (hours, disk and memory), from figures that were measured or are assumed, and what is there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.hmdb51.options import SIZE, Options
from scripts.hmdb51.roads import Road
from scripts.hmdb51.stages import CANDIDATES, is_videos
from shared.classes import HMDB51_NUM_VIDEOS
from shared.errors import DataError
from shared.splits.parts import official_splits
from shared.terminal.console import duration_text, say
from shared.video.listing import VIDEO_SUFFIXES
from shared.video.resizing import parse_size

ARCHIVE_BYTES = 2.1e9  # of hmdb51_org.rar
NUM_FRAMES = 16
# Seconds of 6766 clips with K = 1 on two cores under other load (docs/log.md, "The whole of HMDB51's names").
_EXTRACT_SECONDS, _VERIFY_SECONDS, _EDA_SECONDS = 479, 117, 151
_CPU_RATE, _CPU_WORDS = 85e9, "85 GFLOP/s, measured with one thread (docs/probe.md)"
_GPU_RATE, _GPU_WORDS = 20e12, "20 TFLOP/s, assumed of a GPU in half precision; at least"
_TRAINED_SHARE = 0.9  # of a split's training clips; the rest validates
_FEATURE_BYTES = 384 * 2  # of a frame: float16, ViT-S
_ASK_TORCH = "import torch; print(torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0)"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is known of SOURCE before it is fetched."""

    num_bytes: float
    copies: int
    """How often its content comes to lie on the disk: archives in an archive are unpacked in two steps."""
    num_clips: int


@dataclass(frozen=True)
class Need:
    """What one part of the work takes, and what that is reckoned from."""

    stage: str
    seconds: float | None
    """None: nobody can say, as with a download."""
    num_bytes: float
    folder: Path | None
    """Where the bytes go."""
    basis: str


def needs(options: Options, road: Road, source: Source, *, has_gpu: bool) -> tuple[Need, ...]:
    """The needs of all stages."""
    size = parse_size(options.size or SIZE, fit="crop")
    assert size is not None  # the options are checked
    share = source.num_clips / HMDB51_NUM_VIDEOS
    rate, words = (_GPU_RATE, _GPU_WORDS) if has_gpu else (_CPU_RATE, _CPU_WORDS)
    training, test = (1e9 * gflops(options, road) * share / rate for gflops in (training_gflops, evaluation_gflops))
    frame_bytes = size.height * size.width * 3
    frames = source.num_clips * CANDIDATES * NUM_FRAMES
    features = frames * _FEATURE_BYTES if road.command == "probe" else 0
    run_bytes = len(options.split_names) * road.run_gigabytes * 1e9 + features
    run, k = Path(options.runs) / options.name, CANDIDATES
    copies = f"the content of SOURCE, {source.copies} times at the most"
    measured = f"K = {k} frames a segment; measured with 1 on two cores, times {k}"
    fetch = Need("fetch", None, source.copies * source.num_bytes, Path(options.videos), copies)
    return (
        *(() if is_videos(options) else (fetch,)),
        Need("extract", k * _EXTRACT_SECONDS * share, frame_bytes * frames, Path(options.shards), measured),
        Need("verify, eda", (k * _VERIFY_SECONDS + _EDA_SECONDS) * share, 0, None, "measured in the same way"),
        Need("train", training, run_bytes, run, words),
        Need("evaluate", test, 0, None, "the same"),
    )


def training_gflops(options: Options, road: Road) -> float:
    """10^9 FLOPs of training on the chosen official splits, of all of HMDB51. Splits share a probe's features."""
    counts = _split_counts(options, "train")
    if road.command == "probe":
        return sum(map(bool, counts)) * CANDIDATES * road.gflops
    epochs = int(options.epochs or str(road.settings()["epochs"]))
    return epochs * sum(counts) * _TRAINED_SHARE * road.passes * road.gflops


def evaluation_gflops(options: Options, road: Road) -> float:
    """10^9 FLOPs of evaluating on the chosen official splits."""
    return sum(_split_counts(options, "test")) * road.gflops


def _split_counts(options: Options, part: str) -> list[int]:
    """In how many of the splits each clip of HMDB51 has this part."""
    clips = official_splits().values()
    return [sum(getattr(clip, f"split{split}") == part for split in options.split_names) for clip in clips]


def table_rows(found: Sequence[Need]) -> list[tuple[str, str, str, str]]:
    """The needs as rows of a table: stage, time, disk, basis."""
    seconds, num_bytes = sum(need.seconds or 0 for need in found), sum(need.num_bytes for need in found)
    return [
        (
            need.stage,
            "?" if need.seconds is None else duration_text(need.seconds),
            f"{need.num_bytes / 1e9:.1f} GB" if need.num_bytes else "",
            need.basis,
        )
        for need in (*found, Need("all", seconds, num_bytes, None, ""))
    ]


def check_disks(found: Sequence[Need], options: Options) -> None:
    """Say what is still to be written. Raises DataError where it does not fit; folders on one disk share its space."""
    wanted = {need.folder: need.num_bytes for need in found if need.folder is not None}
    missing = {folder: max(0.0, num_bytes - folder_bytes(folder)) for folder, num_bytes in wanted.items()}
    places = {folder: _existing(folder) for folder in missing}
    for disk in {place.stat().st_dev for place in places.values()}:
        folders = [folder for folder, place in places.items() if place.stat().st_dev == disk]
        needed, free = sum(missing[folder] for folder in folders), free_bytes(places[folders[0]])
        text = f"{needed / 1e9:.1f} GB more are needed on the disk of {' and '.join(map(str, folders))}"
        if needed > free:
            smaller = ", or store smaller pictures (SIZE=128x176)" if Path(options.shards) in folders else ""
            raise DataError(
                f"{text}, {free / 1e9:.1f} GB are free; free some, or name folders on another disk "
                f"(VIDEOS=, SHARDS=, RUNS=){smaller}"
            )
        say(f"{text}, {free / 1e9:.1f} GB are free")


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.expanduser().absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def gpu_gigabytes() -> float:
    """Memory of the first GPU that torch can use, in 10^9 bytes; 0 where there is none."""
    done = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, check=False)
    text = done.stdout.strip()
    return int(text) / 1e9 if text.isdigit() else 0.0


def free_bytes(path: Path) -> int:
    """Free space of a folder's disk."""
    return shutil.disk_usage(path).free


def folder_bytes(path: Path) -> int:
    """Bytes of all files below a folder that may not exist."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def look_at_source(options: Options) -> Source:
    """What is known of SOURCE: videos are counted where they can be, else reckoned from its size, or all expected."""
    path = Path(options.source).expanduser()
    if path.is_dir():  # it may hold archives
        num_clips = _num_videos(map(str, path.rglob("*"))) or HMDB51_NUM_VIDEOS
        return Source(num_bytes=folder_bytes(path), copies=1, num_clips=num_clips)
    if path.is_file():
        listed = 0
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as opened:
                listed = _num_videos(opened.namelist())
        num_bytes = path.stat().st_size
        num_clips = listed or max(1, round(HMDB51_NUM_VIDEOS * num_bytes / ARCHIVE_BYTES))
        return Source(num_bytes=num_bytes, copies=2, num_clips=num_clips)
    present = _num_videos(map(str, Path(options.videos).rglob("*")))
    return Source(num_bytes=ARCHIVE_BYTES, copies=3, num_clips=present or HMDB51_NUM_VIDEOS)


def _num_videos(names: Iterable[str]) -> int:
    return sum(Path(name).suffix.lower() in VIDEO_SUFFIXES for name in names)
