"""How time and memory grow: extract with clips, the loader beyond the memory, eda and balance with rows.

    python -m benchmarks.scaling [--parts extract loader tables] [--clips 300 1000 3000] [--rows 1000 6766 100000]
        [--memory-shares 0.25 0.5 1.5] [--real FOLDER] [--json FILE]

Extract works on hard links to a few videos. The loader reads shards that are sparse files, as large in sum as the
shares of this machine's memory: they take up page cache like any other and nothing on the disk. eda, with and without
near duplicates, and balance run on made tables. The exponent p of time ~ size^p between neighbouring sizes is 1 where
growth is linear: of CPU time where that is known, which other work disturbs least. Each is measured once.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.clips_on_disk import REAL_VIDEOS, link_videos, synthetic_videos, videos_below
from benchmarks.made_tables import make_tables
from benchmarks.timing import Results, benchmark_options, memory_bytes, start, workplace
from shared.shards.format import ClipRecord, ShardLayout, crc32_of, shard_name
from shared.shards.reader import ShardReader
from shared.shards.writer import PendingShard
from train.data.augment import Statistics
from train.data.loader.batches import epoch_steps, training_batches
from train.data.loader.prefetch import Prefetcher
from train.data.loader.reader import BatchReader, ClipReader
from train.data.samples import ClipTable, Samples

PARTS = ("extract", "loader", "tables")
DATASET_ID = "c" * 64
_LARGEST_EXPONENT = 1.1
_LONGEST_POLL_SECONDS = 0.1
_PIECE = 2**20


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a command took. memory_mib: the largest of its processes. cpu_seconds: of all of them, 0 if not measured."""

    seconds: float
    memory_mib: float
    cpu_seconds: float = 0.0

    @property
    def work(self) -> float:
        """CPU seconds, or seconds where those are not known."""
        return self.cpu_seconds or self.seconds


def measure_command(program: str, words: list[str]) -> Cost:
    """Run a command of this environment. Its processes are looked at ten times a second, the more often the younger it
    is: a command of a tenth of a second would otherwise be seen once, just after it began.
    """
    started, largest, cpu_before = time.monotonic(), 0.0, _cpu_of_children()
    command = [str(Path(sys.executable).parent / program), *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while process.poll() is None:
            largest = max(largest, _largest_of_session(process.pid))
            time.sleep(min(_LONGEST_POLL_SECONDS, max(0.002, (time.monotonic() - started) / 10)))
    if process.returncode:
        raise SystemExit(f"{program} {words[0]} ended with exit code {process.returncode}")
    cpu_seconds = _cpu_of_children() - cpu_before
    return Cost(seconds=time.monotonic() - started, memory_mib=largest, cpu_seconds=cpu_seconds)


def _cpu_of_children() -> float:
    """CPU seconds of all processes that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _largest_of_session(session: int) -> float:
    """Peak memory of the largest process of a session so far, MiB."""
    peaks = [0.0]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(after_name[3]) == session:
                peaks.append(_status_mib(folder, "VmHWM"))
        except OSError:
            continue  # it has ended meanwhile
    return max(peaks)


def _status_mib(process: Path, key: str) -> float:
    for line in (process / "status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    return 0.0


def add_growth(results: Results, title: str, costs: dict[int, Cost], *, unit: str) -> None:
    """A table of sizes, and the exponent between the two largest as a target."""
    rows: dict[str, dict[str, float | str]] = {}
    before: tuple[int, Cost] | None = None
    exponent = math.nan
    for size, cost in costs.items():
        if before is not None:
            exponent = math.log(cost.work / before[1].work) / math.log(size / before[0])
        rows[f"{size} {unit}"] = {
            "seconds": cost.seconds,
            "CPU s": cost.cpu_seconds,
            f"ms a {unit[:-1]}": 1000 * cost.seconds / size,
            "exponent": "" if before is None else f"{exponent:.2f}",
            "largest process, MiB": cost.memory_mib,
        }
        before = size, cost
    results.add_figures(title, rows)
    if len(costs) > 1:
        results.add_target(f"{title}: exponent", exponent, most=_LARGEST_EXPONENT)
        memory = [cost.memory_mib for cost in costs.values()]
        results.add_figures(f"{title}: memory", {"last over first": {"ratio": memory[-1] / max(memory[0], 1.0)}})


def scale_extract(results: Results, options: argparse.Namespace, place: Path) -> None:
    """Extraction of more and more links to the same videos."""
    originals = videos_below(options.real) or synthetic_videos(place / "synthetic", clips=40)
    costs = {}
    for count in options.clips:
        videos = link_videos(originals, place / "videos", count=count)
        places = ["--shards", str(place / "shards"), "--manifests", str(place / "manifests")]
        words = ["extract", "--videos", str(videos), "--size", options.size, "--overwrite", *places]
        costs[count] = measure_command("hmdb-prep", words)
    add_growth(results, f"extract at {options.size}", costs, unit="clips")
    shutil.rmtree(place, ignore_errors=True)


def write_empty_shard(path: Path, *, clips: int, height: int, width: int) -> None:
    """A whole shard of black clips."""
    layout = ShardLayout(num_segments=16, frames_per_segment=1, height=height, width=width, dataset_id=DATASET_ID)
    checksum = crc32_of(np.zeros(layout.clip_bytes, np.uint8))
    index = np.arange(layout.num_rows, dtype=np.int32)
    with PendingShard(path, layout, capacity=clips) as shard:
        shard.complete([
            ClipRecord(clip_id=f"black/{row}", label=0, frame_index=index, crc32=checksum, manifest="{}")
            for row in range(clips)
        ])  # fmt: skip
        shard.publish()


def copy_sparsely(original: Path, copy: Path) -> None:
    """Copy a file, leaving holes where it holds nothing but zeros."""
    with original.open("rb") as source, copy.open("wb") as target:
        while piece := source.read(_PIECE):
            if any(piece):
                target.write(piece)
            else:
                target.seek(len(piece), os.SEEK_CUR)
        target.truncate(source.tell())


def black_table(shards: list[str], clips: int) -> tuple[ClipTable, Samples]:
    """The table and the samples of shards that all hold the same black clips."""
    count = len(shards) * clips
    zeros = np.zeros(count)
    table = ClipTable(
        clip_id=tuple(f"black/{row}" for _ in shards for row in range(clips)),
        class_name=("black",) * count,
        label=np.zeros(count, np.int64),
        source=("black",) * count,
        shard=tuple(name for name in shards for _ in range(clips)),
        row=np.tile(np.arange(clips), len(shards)),
        statistics=Statistics(brightness=zeros, contrast=zeros, blur=zeros, colorfulness=zeros),
    )
    samples = Samples(
        clip=np.arange(count),
        neighbor=np.full(count, -1),
        lam=zeros,
        label=np.zeros(count, np.int64),
        key=np.arange(count, dtype=np.uint64),
    )
    return table, samples


def read_epoch(place: Path, shards: list[str], clips: int) -> Cost:
    """One epoch in random order. memory_mib: the largest anonymous memory of this process, mapped files left out."""
    table, samples = black_table(shards, clips)
    reader = ClipReader(place, table, dataset_id=DATASET_ID)
    batches = BatchReader(reader, num_threads=2, pinned=False)
    largest, started = 0.0, time.perf_counter()
    stream = training_batches(
        batches,
        samples,
        epoch_steps(len(samples), batch_size=16, seed=0, epoch=0),
        seed=0,
        tsn=False,
        num_parts=1,
        own_parts=range(1),
    )
    with Prefetcher(stream, ahead=2) as prefetched:
        for batch in prefetched:
            if batch.step.index % 16 == 0:
                largest = max(largest, _status_mib(Path("/proc/self"), "RssAnon"))
    seconds = time.perf_counter() - started
    batches.close()
    reader.close()
    return Cost(seconds=seconds, memory_mib=largest)


def scale_loader(results: Results, options: argparse.Namespace, place: Path) -> None:
    """Data sets of a share of the memory each, the last larger than all of it."""
    clips, height, width = (4, 32, 32) if options.quick else (64, 224, 304)
    place.mkdir(parents=True, exist_ok=True)
    first = place / shard_name(0)
    write_empty_shard(first, clips=clips, height=height, width=width)
    with ShardReader(first) as shard:
        shard_bytes = shard.layout.clip_bytes * clips
    counts = [2, 4] if options.quick else [math.ceil(share * memory_bytes() / shard_bytes) for share in options.shares]
    names = [shard_name(index) for index in range(max(counts))]
    for name in names[1:]:
        copy_sparsely(first, place / name)
    costs = {count * clips: read_epoch(place, names[:count], clips) for count in counts}
    rates = ", ".join(f"{size * shard_bytes / clips / 2**30:.1f} GiB" for size in costs)
    results.add_note(f"loader: {rates}, of {memory_bytes() / 2**30:.1f} GiB of memory")
    add_growth(results, "loader, sparse shards", costs, unit="clips")
    shutil.rmtree(place)


def scale_tables(results: Results, options: argparse.Namespace, place: Path) -> None:
    """eda without and with pictures, and balance, on more and more rows."""
    costs: dict[str, dict[int, Cost]] = {"eda, tables and plots": {}, "eda with near duplicates": {}, "balance": {}}
    for count in options.rows:
        made = make_tables(place / str(count), num_rows=count)
        manifests, shards = ["--manifests", str(made.manifests)], ["--shards", str(made.shards)]
        nowhere = ["--shards", str(place / "nowhere")]
        costs["eda, tables and plots"][count] = measure_command("hmdb-prep", ["eda", *manifests, *nowhere])
        costs["eda with near duplicates"][count] = measure_command("hmdb-prep", ["eda", *manifests, *shards])
        words = ["balance", "--split", "full", *manifests, *shards]
        costs["balance"][count] = measure_command("hmdb-prep", words)
        shutil.rmtree(place / str(count))
    for title, measured in costs.items():
        add_growth(results, title, measured, unit="rows")


def main() -> None:
    parser = benchmark_options(__doc__, rounds=None)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--clips", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--size", default="112x152", help="stored size of the extraction")
    parser.add_argument("--memory-shares", dest="shares", type=float, nargs="+", default=[0.25, 0.5, 1.5])
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 6766, 100_000])
    parser.add_argument("--real", type=Path, default=REAL_VIDEOS / "hmdb51", help="folder of genuine videos")
    options = parser.parse_args()
    results = start("scaling", options)
    if options.quick:
        options.clips, options.size, options.rows = [2, 4], "32", [120, 240]
    with workplace(options) as place:
        if "extract" in options.parts:
            scale_extract(results, options, place / "extract")
        if "loader" in options.parts:
            scale_loader(results, options, place / "loader")
        if "tables" in options.parts:
            scale_tables(results, options, place / "tables")
    results.save(options.json)


if __name__ == "__main__":
    main()
