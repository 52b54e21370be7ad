"""Where the CPU time of extraction goes: each stage of a clip by itself, in one process and one thread.

    python -m benchmarks.extract_profile [--real FOLDER] [--originals 40] [--side 224] [--json FILE]

"Decoding" is PyAV's with no colour conversion and nothing kept, the limit of benchmarks/extract.py. "Converting" is
what reading every frame through torchcodec takes beyond that: it converts every frame, wanted or not, and cannot be
asked not to. The other stages are timed on the frames that the one before has left. The last two take place in the
parent process, in a thread.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.clips_on_disk import REAL_VIDEOS, synthetic_videos, videos_below
from benchmarks.decoding_peers import NUM_SEGMENTS, count_frames
from benchmarks.timing import Results, benchmark_options, start, take_turns, workplace
from preprocess.extract.statistics import measure_clip
from shared.shards.format import crc32_of
from shared.shards.writer import ClipPlace, write_clip_frames
from shared.video.decoding import decode_clip
from shared.video.resizing import FrameSize, resize_frames
from shared.video.shape import ClipShape
from shared.video.streams import OpenVideo

DECODING, CONVERTING, PICKING = "decoding", "converting every frame", "picking, opening"


def read_all(path: Path) -> None:
    """Every frame, by this project's own way."""
    for _ in OpenVideo(path).read_frames():
        pass


def stored_rows(path: Path) -> torch.Tensor:
    """The rows of a clip at the video's own size, uint8 (T, H, W, 3)."""
    return decode_clip(path, ClipShape(num_segments=NUM_SEGMENTS, frames_per_segment=1, size=None)).frames


def write_rows(file: Path, frames: npt.NDArray[np.uint8]) -> None:
    """A row of a pending shard."""
    write_clip_frames(ClipPlace(file=file, offset=0), frames)


def stages_of(videos: list[Path], file: Path, side: int) -> dict[str, Callable[[], object]]:
    """What each stage does for all videos. The first three contain one another."""
    size = FrameSize(height=side, width=side)
    native = [stored_rows(path) for path in videos]
    scaled = [resize_frames(frames, size) for frames in native]
    arrays = [frames.numpy() for frames in scaled]
    file.write_bytes(bytes(max(array.nbytes for array in arrays)))

    def for_each(function: Callable[..., object], items: Iterable[object]) -> None:
        for item in items:
            function(item)

    return {
        DECODING: partial(count_frames, tuple(videos)),
        CONVERTING: partial(for_each, read_all, videos),
        PICKING: partial(for_each, stored_rows, videos),
        "scaling": partial(for_each, lambda frames: resize_frames(frames, size), native),
        "measuring": partial(for_each, measure_clip, scaled),
        "CRC-32": partial(for_each, crc32_of, arrays),
        "writing": partial(for_each, partial(write_rows, file), arrays),
        "reading back (parent)": partial(for_each, crc32_of, arrays),
        "SHA-256 (parent)": partial(for_each, lambda array: hashlib.sha256(array).digest(), arrays),
    }


def profile(results: Results, name: str, videos: list[Path], file: Path, options: argparse.Namespace) -> None:
    """CPU milliseconds a clip of each stage, and its share."""
    times = take_turns(stages_of(videos, file, options.side), rounds=options.rounds)
    spent = {stage: 1000 * statistics.median(taken.cpu) / len(videos) for stage, taken in times.items()}
    spent[PICKING] -= spent[CONVERTING]
    spent[CONVERTING] -= spent[DECODING]
    total = sum(spent.values())
    rows: dict[str, dict[str, float | str]] = {
        stage: {"CPU ms a clip": value, "share, %": 100 * value / total} for stage, value in spent.items()
    }
    rows["all"] = {"CPU ms a clip": total, "share, %": 100.0}
    results.add_figures(f"profile, {len(videos)} {name} videos at {options.side}", rows)


def main() -> None:
    parser = benchmark_options(__doc__, rounds=5)
    parser.add_argument("--real", type=Path, default=REAL_VIDEOS / "hmdb51", help="folder of genuine videos")
    parser.add_argument("--originals", type=int, default=40, help="synthetic videos that are rendered")
    parser.add_argument("--side", type=int, default=224, help="stored height and width")
    options = parser.parse_args()
    results = start("extract_profile", options)
    if options.quick:
        options.originals, options.side = 4, 32
    torch.set_num_threads(1)
    with workplace(options) as folder:
        real = videos_below(options.real)
        if real:
            profile(results, "genuine", real, folder / "row", options)
        if not (options.quick and real):
            made = synthetic_videos(folder / "synthetic", clips=options.originals)
            profile(results, "synthetic", made, folder / "row", options)
    results.save(options.json)


if __name__ == "__main__":
    main()
