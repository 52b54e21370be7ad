"""Extraction against other decoders doing the same job, and against decoding alone.

    python -m benchmarks.extract [--real FOLDER] [--clips 150] [--workers 1 2] [--peer-statistics] [--json FILE]

The job: decode every frame, take the 16 of uniform sampling, scale to cover 224x224, keep the centre, write HDF5. This
project also measures statistics, checks and synchronises what it wrote, and writes manifests; "no statistics" leaves
the measuring out. Three questions: clips a second of the whole job, by as many worker processes; CPU time a clip in one
process, which other work on the machine disturbs less; and whose frames are the right ones. The target compares like
with like: peers that count frames, and without --peer-statistics this project without statistics.
`pip install -e '.[bench]'` brings the peers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.clips_on_disk import REAL_VIDEOS, extract, link_videos, synthetic_videos, videos_below
from benchmarks.decoding_peers import PEERS, clip_with, count_frames, is_installed, run_limit, run_peer
from benchmarks.timing import Results, benchmark_options, start, take_turns, workplace
from preprocess.extract.clips import ClipJob, MeasuredClip, extract_clip
from preprocess.extract.statistics import ClipStatistics, measure_clip
from shared.manifests.files import QuarantineRow
from shared.video.decoding import decode_clip
from shared.video.resizing import FrameSize
from shared.video.shape import ClipShape
from shared.video.streams import OpenVideo

OURS, UNMEASURED, LIMIT = "this project", "this project, no statistics", "decoding alone (PyAV)"
SIDE = 224
_NEIGHBOURS = 4  # frames before and after, among which the right one must be the nearest


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where videos come from."""

    name: str
    originals: list[Path]


def no_statistics(frames: torch.Tensor) -> ClipStatistics:
    """Stands in for the measuring: the statistics of one black pixel."""
    return measure_clip(torch.zeros((1, 1, 1, 3), dtype=torch.uint8))


def extract_unmeasured(job: ClipJob) -> MeasuredClip | QuarantineRow:
    """``extract_clip`` without the cost of statistics. Stands here so that a worker process can import it."""
    with patch("preprocess.extract.clips.measure_clip", no_statistics):
        return extract_clip(job)


def run_ours(videos: Path, folder: Path, *, workers: int, measured: bool) -> None:
    """The command's own work; workers are started and ended within it."""
    if measured:
        extract(videos, folder, workers=workers, size=str(SIDE))
        return
    with patch("preprocess.extract.shards.extract_clip", extract_unmeasured):
        extract(videos, folder, workers=workers, size=str(SIDE))


def installed_peers(results: Results) -> list[str]:
    """The peers that are there; a line for each that is not."""
    for name, peer in PEERS.items():
        if not is_installed(peer):
            results.add_note(f"{name}: {peer.module} is not installed, left out")
    return [name for name, peer in PEERS.items() if is_installed(peer)]


def compare_whole_job(results: Results, source: Source, place: Path, options: argparse.Namespace) -> None:
    """Clips a second of everyone, for each number of workers."""
    linked = link_videos(source.originals, place / "videos", count=options.clips)
    files, peers = videos_below(linked), installed_peers(results)
    for workers in options.workers:
        # Peers keep their processes, this project starts its own each time: what differs is in their favour.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver")) as pool:
            contestants: dict[str, Callable[[], object]] = {
                OURS: partial(run_ours, linked, place / "ours", workers=workers, measured=True),
                UNMEASURED: partial(run_ours, linked, place / "unmeasured", workers=workers, measured=False),
            }
            for name in peers:
                folder = place / name.replace(" ", "-")
                contestants[name] = partial(
                    run_peer, name, files, folder, pool=pool, side=SIDE, with_statistics=options.peer_statistics
                )
            if is_installed(PEERS["PyAV, torch's resize"]):
                contestants[LIMIT] = partial(run_limit, files, pool=pool)
            times = take_turns(contestants, rounds=options.rounds)
        title = f"whole job, {source.name} videos, {workers} workers"
        results.add_rates(title, times, units=len(files), unit="clips", reference=OURS, with_cpu=False)
        _add_targets(results, title, peers, like=OURS if options.peer_statistics else UNMEASURED)
    shutil.rmtree(place)


def compare_cpu(results: Results, source: Source, options: argparse.Namespace) -> None:
    """CPU time a clip, in this process: decoding, picking, scaling; for this project also checksum and statistics."""
    torch.set_num_threads(1)
    videos = source.originals[: 2 if options.quick else None]
    peers = installed_peers(results)
    contestants: dict[str, Callable[[], object]] = {
        OURS: lambda: [extract_clip(_job(path)) for path in videos],
        UNMEASURED: lambda: [extract_unmeasured(_job(path)) for path in videos],
    }
    for name in peers:
        contestants[name] = partial(_clips_with, name, videos)
    if is_installed(PEERS["PyAV, torch's resize"]):
        contestants[LIMIT] = partial(count_frames, tuple(videos))
    times = take_turns(contestants, rounds=options.rounds)
    title = f"one process, nothing written, {source.name} videos"
    results.add_rates(title, times, units=len(videos), unit="clips", reference=OURS)


def _add_targets(results: Results, title: str, peers: list[str], *, like: str) -> None:
    """``like``: this project as it does what the peers do."""
    rates = results.tables[title]
    counting = [name for name in peers if PEERS[name].counts]  # who trusts the header has the wrong frames
    if counting:
        best = max(counting, key=lambda name: rates[name].rate)
        results.add_target(f"{title}: {like}, against {best}", results.ratio(title, like, to=best), least=1.0)
    if LIMIT in rates:
        results.add_target(f"{title}: of decoding alone", results.ratio(title, OURS, to=LIMIT), least=0.5)


def _job(path: Path) -> ClipJob:
    return ClipJob(
        video=path,
        path=path.name,
        shape=ClipShape(num_segments=16, frames_per_segment=1, size=FrameSize(height=SIDE, width=SIDE)),
        height=SIDE,
        width=SIDE,
        device="cpu",
        place=None,
    )


def _clips_with(name: str, videos: list[Path]) -> None:
    for path in videos:
        clip_with(name, path, side=SIDE)


def check_frames(results: Results, source: Source, options: argparse.Namespace) -> None:
    """Whose n and whose frames are right, on every original: against this project's, which equal ffmpeg's."""
    videos = source.originals[: 2 if options.quick else 25]
    peers = installed_peers(results)
    tally = {name: np.zeros(4, dtype=np.int64) for name in (OURS, *peers)}
    for path in videos:
        every = np.stack([frame.picture.numpy() for frame in OpenVideo(path).read_frames()])
        clip = decode_clip(path, ClipShape(num_segments=16, frames_per_segment=1, size=None))
        right = clip.frame_index
        tally[OURS] += judge(every, right, clip.num_frames, list(clip.frames.numpy()))
        for name in peers:
            num_frames, frames = PEERS[name].pick(path)
            tally[name] += judge(every, right, num_frames, frames)
    rows: dict[str, dict[str, float | str]] = {
        name: {
            "n right": f"{counts[0]} of {len(videos)}",
            "right frames, %": 100 * counts[2] / counts[1],
            "the same to the bit, %": 100 * counts[3] / counts[1],
        }
        for name, counts in tally.items()
    }
    results.add_figures(f"whose frames are right, {len(videos)} {source.name} videos", rows)


def judge(every: np.ndarray, right: np.ndarray, num_frames: int, frames: list[np.ndarray]) -> np.ndarray:
    """n is right; rows; rows nearer to the right frame than to any other near it; rows that equal it. int64 (4,)."""
    near = same = 0
    for row, frame in zip(right.tolist(), frames, strict=True):
        if frame.shape != every[row].shape:
            continue
        around = range(max(0, row - _NEIGHBOURS), min(len(every), row + _NEIGHBOURS + 1))
        distances = {number: np.abs(every[number].astype(np.int16) - frame).mean() for number in around}
        near += distances[row] <= min(distances.values())
        same += np.array_equal(every[row], frame)
    return np.array([num_frames == len(every), len(right), near, same], dtype=np.int64)


def main() -> None:
    parser = benchmark_options(__doc__, rounds=5)
    parser.add_argument(
        "--real", type=Path, default=REAL_VIDEOS / "hmdb51", help="folder of genuine videos, at any depth"
    )
    parser.add_argument("--clips", type=int, default=150, help="videos of each kind in the whole job, links in turn")
    parser.add_argument("--originals", type=int, default=40, help="synthetic videos that are rendered")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--peer-statistics", action="store_true", help="peers measure the clips too, with OpenCV")
    parser.add_argument("--only-cpu", action="store_true", help="leave the whole job out")
    options = parser.parse_args()
    results = start("extract", options)
    if options.quick:
        options.clips, options.originals, options.workers = 4, 4, [1]
    with workplace(options) as folder:
        sources = [Source(name="genuine", originals=videos_below(options.real))]
        if not (options.quick and sources[0].originals):
            made = synthetic_videos(folder / "synthetic", clips=options.originals)
            sources.append(Source(name="synthetic", originals=made))
        for source in sources:
            if not source.originals:
                results.add_note(f"no {source.name} videos there, left out (--real)")
                continue
            if not options.only_cpu:
                compare_whole_job(results, source, folder / source.name.replace("synthetic", "made"), options)
            compare_cpu(results, source, options)
            check_frames(results, source, options)
        results.save(options.json)


if __name__ == "__main__":
    main()
