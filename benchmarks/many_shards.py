"""What a training process costs that reads from very many shards: `python -m benchmarks.many_shards`.

    python -m benchmarks.many_shards [--shards 16 157 1563 10157] [--batches 200] [--json FILE]

Shards of 64 clips (16, 224, 304, 3) are sparse files: black, of full size, next to nothing on the disk. Manifests of
Kinetics-700's shape, every video a source of its own, lie beside them. Each size is measured in a process of its own:
opening the data as `lsvit-train run` does, with manifests, splits and shards, and then batches of 16 in random order
and with 8 shards in turn. Own memory is what no file is mapped to (RssAnon). Holes are read as fast as memory gives
zeros: rates say what opening costs, not what a disk gives.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.large_plan import made_row, made_videos
from benchmarks.scaling import DATASET_ID, Cost, _status_mib, add_growth
from benchmarks.timing import Results, benchmark_options, start, workplace
from shared.manifests.files import ColourStatistics, Dataset, ShardEntry, write_clip_manifests, write_dataset
from shared.shards.format import ClipRecord, ShardLayout, crc32_of, shard_name
from shared.shards.writer import PendingShard
from shared.splits.parts import ClipSplits

CLIPS, HEIGHT, WIDTH = 64, 224, 304
BATCH_SIZE, SHARDS_IN_TURN = 16, 8
_PIECE = 4096
_LARGEST_START_SECONDS, _LARGEST_MEMORY_MIB = 20.0, 1024.0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one process. Seconds by the wall clock and of CPU; memory in MiB."""

    start_seconds: float
    start_cpu_seconds: float
    start_memory: float
    random_clips_a_second: float
    clips_a_second_in_turn: float
    memory: float
    open_files: int


@dataclass(frozen=True, kw_only=True)
class Template:
    """A shard in pieces, without what is zero."""

    pieces: tuple[tuple[int, bytes], ...]
    """Where each begins, and what it holds."""
    size: int


def clip_name(number: int) -> str:
    """Of the same length for every clip, so that it can be put into a shard in the place of another."""
    return f"class {number % 700:03d}/clip-{number:08d}"


def make_template(file: Path, *, height: int, width: int) -> Template:
    """Write a whole shard of black clips, with the names of the first ones, and take it apart."""
    layout = ShardLayout(num_segments=16, frames_per_segment=1, height=height, width=width, dataset_id=DATASET_ID)
    checksum = crc32_of(np.zeros(layout.clip_bytes, np.uint8))
    index = np.arange(layout.num_rows, dtype=np.int32)
    with PendingShard(file, layout, capacity=CLIPS) as shard:
        shard.complete([
            ClipRecord(clip_id=clip_name(row), label=0, frame_index=index, crc32=checksum, manifest="{}")
            for row in range(CLIPS)
        ])  # fmt: skip
        shard.publish()
    pieces: list[tuple[int, bytes]] = []
    with file.open("rb") as content:
        while piece := content.read(_PIECE):
            place = content.tell() - len(piece)
            if any(piece) and pieces and pieces[-1][0] + len(pieces[-1][1]) == place:
                pieces[-1] = (pieces[-1][0], pieces[-1][1] + piece)  # so that no name is cut in two
            elif any(piece):
                pieces.append((place, piece))
        size = content.tell()
    file.unlink()
    return Template(pieces=tuple(pieces), size=size)


def write_sparse_shard(file: Path, template: Template, *, index: int) -> None:
    """The shard of a number, with names of its own."""
    with file.open("wb") as target:
        for place, piece in template.pieces:
            target.seek(place)
            target.write(renamed(piece, index))
        target.truncate(template.size)


def renamed(piece: bytes, index: int) -> bytes:
    """The names of the first shard's clips replaced by those of another's."""
    for row in reversed(range(CLIPS)):
        piece = piece.replace(clip_name(row).encode(), clip_name(index * CLIPS + row).encode())
    return piece


def make_data(place: Path, count: int, *, height: int, width: int) -> None:
    """Shards and manifests of ``count`` shards below ``place``."""
    shards = place / "shards"
    shards.mkdir(parents=True)
    template = make_template(shards / shard_name(0), height=height, width=width)
    for index in range(count):
        write_sparse_shard(shards / shard_name(index), template, index=index)
    parts = [ClipSplits(split1=part, split2=part, split3=part, split_full=part) for part in ("train", "test")]
    videos = made_videos(count * CLIPS, classes=700, clips_per_source=1)
    rows = [
        dataclasses.replace(
            made_row(video, parts[number % 10 < 3], shard=shard_name(number // CLIPS), row=number % CLIPS),
            clip_id=clip_name(number),
            class_name=clip_name(number).partition("/")[0],
            path=f"{clip_name(number)}.mp4",
            label=number % 700,
        )
        for number, video in enumerate(videos)
    ]
    write_clip_manifests(place / "manifests", rows)
    colour = ColourStatistics(mean=(0.3, 0.3, 0.3), std=(0.2, 0.2, 0.2))
    names = tuple(sorted({row.class_name for row in rows}))
    entries = tuple(
        ShardEntry(file=shard_name(index), num_clips=CLIPS, num_bytes=template.size, sha256="0" * 64)
        for index in range(count)
    )
    dataset = Dataset(
        dataset_id=DATASET_ID, size=f"{height}x{width}", fit="crop", num_segments=16, frames_per_segment=1,
        clips_per_shard=CLIPS, seed=0, synthetic=True, class_names=names, num_videos=len(rows), num_clips=len(rows),
        num_quarantined=0, clips_per_class={}, clips_per_split={},
        rgb=dict.fromkeys(("split1", "split2", "split3", "split_full"), colour), shards=entries,
    )  # fmt: skip
    write_dataset(place / "manifests", dataset)


def measure(place: Path, *, num_batches: int) -> Measured:
    """Open the data as a run does and read batches of it, in this process, which has done nothing else."""
    from train.data.loader.batches import Turns, epoch_steps, training_batches
    from train.data.loader.prefetch import Prefetcher
    from train.data.loader.reader import BatchReader
    from train.data.samples import shard_numbers
    from train.run.config.resolve import resolve
    from train.run.data import open_data

    itself = Path("/proc/self")
    started, cpu = time.perf_counter(), time.process_time()
    folders = {"shards": str(place / "shards"), "manifests": str(place / "manifests")}
    _, data = open_data(resolve(command_line=folders, file={}))
    start_seconds, start_cpu = time.perf_counter() - started, time.process_time() - cpu
    start_memory = _status_mib(itself, "RssAnon")
    batches = BatchReader(data.reader, num_threads=2, pinned=False)
    turns = Turns(shard=shard_numbers(data.table)[data.samples.clip], at_once=SHARDS_IN_TURN)
    rates = []
    largest, open_files = 0.0, 0
    for order in (None, turns):
        epoch = epoch_steps(len(data.samples), batch_size=BATCH_SIZE, seed=0, epoch=0, turns=order)
        steps = list(islice(epoch, num_batches))
        stream = training_batches(batches, data.samples, steps, seed=0, tsn=False, num_parts=1, own_parts=range(1))
        before = time.perf_counter()
        with Prefetcher(stream, ahead=2) as prefetched:
            for batch in prefetched:
                if batch.step.index % 16 == 0:
                    largest = max(largest, _status_mib(itself, "RssAnon"))
                del batch
        rates.append(BATCH_SIZE * len(steps) / (time.perf_counter() - before))
        maps = (itself / "maps").read_text()
        open_files = max(open_files, maps.count("/shard-"))
    return Measured(
        start_seconds=start_seconds,
        start_cpu_seconds=start_cpu,
        start_memory=start_memory,
        random_clips_a_second=rates[0],
        clips_a_second_in_turn=rates[1],
        memory=largest,
        open_files=open_files,
    )


def measure_apart(place: Path, *, num_batches: int) -> Measured:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.many_shards", "--measure", str(place), "--batches", str(num_batches)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def add_results(results: Results, found: dict[int, Measured]) -> None:
    """Tables of all sizes, and whether the largest keeps to the limits."""
    names = {
        "start_seconds": "start, s", "start_cpu_seconds": "start, CPU s", "start_memory": "own memory then, MiB",
        "memory": "while reading, MiB", "open_files": "mapped shards", "random_clips_a_second": "clips/s, random",
        "clips_a_second_in_turn": f"clips/s, {SHARDS_IN_TURN} in turn",
    }  # fmt: skip
    rows = {
        f"{count} shards": {name: getattr(measured, key) for key, name in names.items()}
        for count, measured in found.items()
    }
    results.add_figures("a training process", rows)  # type: ignore[arg-type]
    costs = {
        count: Cost(seconds=one.start_seconds, cpu_seconds=one.start_cpu_seconds, memory_mib=one.start_memory)
        for count, one in found.items()
    }
    add_growth(results, "its start", costs, unit="shards")
    largest = found[max(found)]
    results.add_target("start, s", largest.start_seconds, most=_LARGEST_START_SECONDS)
    results.add_target("own memory at the start, MiB", largest.start_memory, most=_LARGEST_MEMORY_MIB)


def run_all(results: Results, counts: Sequence[int], place: Path, *, num_batches: int, is_small: bool) -> None:
    """Make and measure one size after the other."""
    height, width = (32, 32) if is_small else (HEIGHT, WIDTH)
    found = {}
    for count in counts:
        make_data(place / str(count), count, height=height, width=width)
        found[count] = measure_apart(place / str(count), num_batches=num_batches)
        shutil.rmtree(place / str(count))
    add_results(results, found)


def main() -> None:
    parser = benchmark_options(__doc__, rounds=None)
    parser.add_argument("--shards", type=int, nargs="+", default=[16, 157, 1563, 10_157])
    parser.add_argument("--batches", type=int, default=200, help="batches of 16 clips that are read each way")
    parser.add_argument("--measure", type=Path, help="a folder that was made: measure it here and print JSON")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(dataclasses.asdict(measure(options.measure, num_batches=options.batches))))
        return
    results = start("many_shards", options)
    if options.quick:
        options.shards, options.batches = [2, 3], 4
    with workplace(options) as place:
        run_all(results, options.shards, place, num_batches=options.batches, is_small=options.quick)
    results.save(options.json)


if __name__ == "__main__":
    main()
