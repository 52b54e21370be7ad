"""What a road will take: hours, disk and memory, from figures that were measured and from what is assumed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scripts.hmdb51.options import SIZE, Options
from scripts.hmdb51.roads import Road
from scripts.hmdb51.stages import CANDIDATES, is_videos
from shared.classes import HMDB51_NUM_VIDEOS
from shared.console import duration_text
from shared.splits import official_splits
from shared.video.resizing import parse_size

ARCHIVE_BYTES = 2.1e9  # of hmdb51_org.rar
NUM_FRAMES = 16
# Seconds of 6766 clips with K = 1 on two cores under other load (docs/log.md, "The whole of HMDB51's names").
_EXTRACT_SECONDS, _VERIFY_SECONDS, _EDA_SECONDS = 479, 117, 151
_CPU_RATE, _CPU_WORDS = 85e9, "85 GFLOP/s, measured with one thread (docs/probe.md)"
_GPU_RATE, _GPU_WORDS = 20e12, "20 TFLOP/s, assumed of a GPU in half precision; at least"
_TRAINED_SHARE = 0.9  # of a split's training clips; the rest validates
_FEATURE_BYTES = 384 * 2  # of a frame: float16, ViT-S


_COPIES = {"remote": 3, "archive": 2, "folder": 1}
_COPIES_WORDS = {
    "remote": "the archive, and its content twice, as archives in it are unpacked in two steps",
    "archive": "its content twice, as archives in it are unpacked in two steps",
    "folder": "copies, or nothing where hard links can be made",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is known of SOURCE before it is fetched."""

    kind: Literal["remote", "archive", "folder"]
    num_bytes: float
    num_clips: int


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one part of the work takes."""

    stage: str
    seconds: float | None
    """None: nobody can say, as with a download."""
    num_bytes: float
    folder: Path | None
    """Where the bytes go."""
    basis: str
    """What the figures are from."""


def needs(options: Options, road: Road, source: Source, *, has_gpu: bool) -> tuple[Need, ...]:
    """The needs of all stages."""
    size = parse_size(options.size or SIZE, fit="crop")
    assert size is not None  # the options are checked
    num_clips = source.num_clips
    share = num_clips / HMDB51_NUM_VIDEOS
    clip_bytes = NUM_FRAMES * CANDIDATES * size.height * size.width * 3
    rate, words = (_GPU_RATE, _GPU_WORDS) if has_gpu else (_CPU_RATE, _CPU_WORDS)
    run, shards = Path(options.runs) / options.name, Path(options.shards)
    checkpoints = len(options.split_names) * road.run_gigabytes * 1e9
    features = num_clips * CANDIDATES * NUM_FRAMES * _FEATURE_BYTES if road.command == "probe" else 0
    extract = Need(
        stage="extract",
        seconds=CANDIDATES * _EXTRACT_SECONDS * share,
        num_bytes=num_clips * clip_bytes,
        folder=shards,
        basis=f"K = {CANDIDATES} frames a segment; measured with 1 on two cores, times {CANDIDATES}",
    )
    verify, eda = CANDIDATES * _VERIFY_SECONDS * share, _EDA_SECONDS * share
    training, test = 1e9 * training_gflops(options, road) * share, 1e9 * evaluation_gflops(options, road) * share
    return (
        *_fetch(options, source),
        extract,
        Need(stage="verify, eda", seconds=verify + eda, num_bytes=0, folder=None, basis="measured in the same way"),
        Need(stage="train", seconds=training / rate, num_bytes=checkpoints + features, folder=run, basis=words),
        Need(stage="evaluate", seconds=test / rate, num_bytes=0, folder=None, basis="the same"),
    )


def _fetch(options: Options, source: Source) -> tuple[Need, ...]:
    if is_videos(options):
        return ()
    return (
        Need(
            stage="fetch",
            seconds=None,
            num_bytes=_COPIES[source.kind] * source.num_bytes,
            folder=Path(options.videos),
            basis=_COPIES_WORDS[source.kind],
        ),
    )


def training_gflops(options: Options, road: Road) -> float:
    """10^9 FLOPs of training on the chosen official splits, of all of HMDB51."""
    if road.command == "probe":
        return _num_clips(options.split_names, "train", once=True) * CANDIDATES * road.gflops
    epochs = int(options.epochs or str(road.settings()["epochs"]))
    clips = _num_clips(options.split_names, "train", once=False) * _TRAINED_SHARE
    return epochs * clips * road.passes * road.gflops


def evaluation_gflops(options: Options, road: Road) -> float:
    """10^9 FLOPs of evaluating on the chosen official splits."""
    return _num_clips(options.split_names, "test", once=False) * road.gflops


def _num_clips(splits: Sequence[str], part: str, *, once: bool) -> int:
    """Clips in this part of the splits; once: a clip of several splits counts once, as its features are shared."""
    counts = [sum(getattr(clip, f"split{split}") == part for split in splits) for clip in official_splits().values()]
    return sum(map(bool, counts)) if once else sum(counts)


def table_rows(found: Sequence[Need]) -> list[tuple[str, str, str, str]]:
    """The needs as rows of a table: stage, time, disk, basis."""
    rows = [
        (
            need.stage,
            "?" if need.seconds is None else duration_text(need.seconds),
            f"{need.num_bytes / 1e9:.1f} GB" if need.num_bytes else "",
            need.basis,
        )
        for need in found
    ]
    total = sum(need.seconds or 0 for need in found)
    return [*rows, ("all", duration_text(total), f"{sum(need.num_bytes for need in found) / 1e9:.1f} GB", "")]


def missing_bytes(found: Sequence[Need], *, present: Callable[[Path], int]) -> dict[Path, float]:
    """What each folder still needs. present: the bytes that a folder holds already."""
    wanted = {need.folder: need.num_bytes for need in found if need.folder is not None}
    return {folder: max(0.0, num_bytes - present(folder)) for folder, num_bytes in wanted.items()}
