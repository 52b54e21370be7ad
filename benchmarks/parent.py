"""What the one process at the head of an extraction can do: plan it, and feed workers that do nothing.

    python -m benchmarks.parent [--videos 6500 65000 650000] [--clips 128 1024] [--workers 2] [--json FILE]

Planning: names as long as Kinetics', no video is read. Feeding: the extraction itself, planned, with real worker
processes and real shards, whose jobs give a black clip at once. CPU seconds are those of the parent alone, so they say
how many clips a second it could pass on if it had a core to itself: at the default size, where it reads each shard
back to take its checksum, and at 32x32, where only the work for each clip is left.
"""

from __future__ import annotations

import functools
import math
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.large_plan import made_videos
from benchmarks.timing import Results, benchmark_options, start, workplace
from preprocess.extract.clips import ClipJob, MeasuredClip
from preprocess.extract.extraction_plan import Extraction, ExtractionParameters, clip_facts, make_parameters, make_plan
from preprocess.extract.shards import extract_shards
from preprocess.extract.state import is_finished, read_extraction_plan, write_extraction_plan
from preprocess.extract.statistics import measure_clip
from shared.shards.format import crc32_of
from shared.video.streams import VideoHeader

Done = TypeVar("Done")
_LARGEST_PLANNING_SECONDS = 60.0


def do_nothing(job: ClipJob) -> MeasuredClip:
    """Stands in for ``extract_clip``: a clip that is black, as the pending shard is. A worker can import it."""
    return _black_clip(job.shape.num_segments, job.height, job.width)


@functools.cache
def _black_clip(num_rows: int, height: int, width: int) -> MeasuredClip:
    header = VideoHeader(codec="h264", fps=30.0, width=340, height=256, num_frames=300, sample_aspect_ratio=1.0)
    return MeasuredClip(
        header=header,
        num_frames=300,
        num_padded=0,
        height=256,
        width=340,
        fps=30.0,
        duration_seconds=10.0,
        decode_errors=0,
        frame_index=np.arange(num_rows, dtype=np.int32),
        crc32=crc32_of(np.zeros((num_rows, height, width, 3), np.uint8)),
        decoder="cpu",
        gpu_error="",
        statistics=measure_clip(torch.zeros((1, 1, 1, 3), dtype=torch.uint8)),
        notes=(),
    )


def timed(step: Callable[[], Done]) -> tuple[Done, float]:
    """What a step gives, and its CPU seconds in this process."""
    started = time.process_time()
    done = step()
    return done, time.process_time() - started


def measure_planning(results: Results, counts: list[int], place: Path) -> None:
    """Every step that an extraction does for all videos before its first clip, but for the splits."""
    place.mkdir(parents=True)
    rows: dict[str, dict[str, float]] = {}
    for count in counts:
        videos = made_videos(count, classes=700, clips_per_source=1)
        plan, rows.setdefault("planned", {})[f"{count}"] = timed(partial(make_plan, videos, ExtractionParameters()))
        _, rows.setdefault("plan written", {})[f"{count}"] = timed(partial(write_extraction_plan, place, plan))
        _, rows.setdefault("plan read and checked", {})[f"{count}"] = timed(partial(read_extraction_plan, place))
    for row in rows.values():
        *_, before, last = row.values()
        row["exponent"] = math.log(last / before) / math.log(counts[-1] / counts[-2])
    results.add_figures("planning, CPU seconds by number of videos", rows)  # type: ignore[arg-type]
    largest = sum(row[f"{counts[-1]}"] for row in rows.values())
    results.add_target(f"planning {counts[-1]} videos, CPU seconds", largest, most=_LARGEST_PLANNING_SECONDS)


def measure_feeding(results: Results, title: str, *, size: str, count: int, workers: int, place: Path) -> None:
    """Extract ``count`` clips that cost nothing."""
    parameters = make_parameters(
        size=size, fit="crop", num_segments=16, frames_per_segment=1, clips_per_shard=64, folder_fps=0.0
    )
    place.mkdir(parents=True)
    plan = make_plan(made_videos(count, classes=10, clips_per_source=1), parameters)
    extraction = Extraction(
        plan=plan,
        facts=clip_facts(plan),
        videos_folder=place,
        shards_folder=place,
        device="cpu",
        num_workers=workers,
        timeout_seconds=300.0,
    )
    cpu, started = time.process_time(), time.perf_counter()
    with patch("preprocess.extract.shards.extract_clip", do_nothing):
        extract_shards(extraction, plan.shards)
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - started
    assert all(is_finished(place, shard) for shard in plan.shards)
    rows = {
        f"{count} clips, {workers} workers": {
            "parent, CPU ms a clip": 1000 * cpu / count,
            "clips a CPU second of the parent": count / cpu,
            "clips a second, as it was": count / seconds,
        }
    }
    results.add_figures(title, rows)  # type: ignore[arg-type]
    shutil.rmtree(place)


def main() -> None:
    parser = benchmark_options(__doc__, rounds=None)
    parser.add_argument("--videos", type=int, nargs="+", default=[6500, 65_000, 650_000])
    parser.add_argument("--clips", type=int, nargs=2, default=[128, 1024], help="at the default size, and at 32x32")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    results = start("parent", options)
    if options.quick:
        options.videos, options.clips = [100, 200], [2, 4]
    large, small = options.clips
    with workplace(options) as place:
        measure_planning(results, options.videos, place / "plan")
        for name, size, count in (("fed at 224x304", "224x304", large), ("fed at 32x32", "32", small)):
            measure_feeding(results, name, size=size, count=count, workers=options.workers, place=place / name)
    results.save(options.json)


if __name__ == "__main__":
    main()
