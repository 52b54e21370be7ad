"""What an extraction does once for all videos, at a size of one's choice: `python -m benchmarks.large_plan 65000`.

No video is read: names, made statistics and the files that hold them. CPU seconds, peak memory of each step and sizes.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from preprocess.extract.extraction_plan import ExtractionParameters, clip_facts, make_plan
from preprocess.extract.finish.merge import summarise
from preprocess.extract.state import read_extraction_plan, write_extraction_plan
from shared.manifests.files import (
    ClipRow,
    read_manifests,
    row_from_json,
    row_to_json,
    write_clip_manifests,
    write_dataset,
)
from shared.splits.parts import ClipSplits
from shared.video.listing import Video

Result = TypeVar("Result")


def timed(name: str, step: Callable[[], Result]) -> Result:
    """Do a step and print its CPU seconds and the largest memory so far."""
    started = time.process_time()
    result = step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:<34} {time.process_time() - started:8.2f} CPU s {peak:8.0f} MiB", flush=True)
    return result


def made_videos(count: int, *, classes: int, clips_per_source: int) -> list[Video]:
    """Videos with names as long as Kinetics': 11 letters and two times."""
    videos = []
    for index in range(count):
        name = f"playing something {index % classes:03d}"
        path = f"{name}/{index // classes // clips_per_source:011d}{index:08d}_{name}_000010_000020.mp4"
        videos.append(Video(path=path, class_name=name, num_bytes=500_000 + index))
    return videos


def made_row(video: Video, splits: ClipSplits, *, shard: str, row: int) -> ClipRow:
    """A manifest row with numbers of the usual length."""
    numbers = {
        field.name: 0.123456789012 if field.type == "float" else 7 if field.type == "int" else ""
        for field in dataclasses.fields(ClipRow)
    }
    numbers |= {"clip_id": video.clip_id, "class_name": video.class_name, "path": video.path, "source": video.stem}
    numbers |= {"shard": shard, "row": row, "codec": "h264", "decoder": "cpu", "crc32": 2**31}
    return ClipRow(**(numbers | dataclasses.asdict(splits)))  # type: ignore[arg-type]


def main() -> None:
    """Run the steps one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=int)
    parser.add_argument("--classes", type=int, default=700)
    parser.add_argument("--without-splits", action="store_true", help="every clip trains; the splits take longest")
    options = parser.parse_args()
    videos = made_videos(options.videos, classes=options.classes, clips_per_source=1)
    plan = timed("make_plan", lambda: make_plan(videos, ExtractionParameters()))
    splits = {
        video.clip_id: ClipSplits(split1="train", split2="train", split3="train", split_full="train")
        for video in videos
    }
    if not options.without_splits:
        splits = timed("clip_facts (labels, splits)", lambda: clip_facts(plan)).splits
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed("write_extraction_plan", lambda: write_extraction_plan(folder, plan))
        timed("read_extraction_plan", lambda: read_extraction_plan(folder))
        rows = [
            made_row(video, splits[video.clip_id], shard=shard.name, row=row)
            for shard in plan.shards
            for row, video in enumerate(shard.videos)
        ]
        texts = timed("rows to JSON", lambda: [row_to_json(row) for row in rows])
        rows = timed("rows from JSON (merge, verify)", lambda: [row_from_json(text) for text in texts])
        dataset = timed("summarise", lambda: summarise(plan, rows, num_quarantined=0, shards=(), synthetic=True))
        timed("write_clip_manifests", lambda: write_clip_manifests(folder, rows))
        write_dataset(folder, dataset)
        timed("read_manifests (pandas)", lambda: read_manifests(folder))
        state = (folder / "extraction.json").stat().st_size
        tables = sum(file.stat().st_size for file in (folder / "clips").glob("*.csv"))
    print(f"{options.videos} videos, {len(plan.shards)} shards: extraction.json {state / 1e6:.1f} MB, ", end="")
    print(f"manifests {tables / 1e6:.1f} MB, manifest rows in shards {sum(map(len, texts)) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
