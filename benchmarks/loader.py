"""The loader of training against other ways to the same uint8 batches, from warm and cold page cache.

    python -m benchmarks.loader [--clips 192] [--batch-size 16] [--threads 2] [--real FOLDER] [--json FILE]

Batches (16, 16, 224, 304, 3) of clips in random order. The limit is a NumPy memory map copied clip by clip into one
buffer that stays, by as many threads. JPEG folders (quality 95, one folder a clip, which the public LS-ViT projects
read with Pillow) and videos are read by as many threads too, plain h5py by one. Cold: the files' pages are given back
with posix_fadvise before every round, and files are opened anew. Of a DataLoader the workers stay from round to round.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.clips_on_disk import REAL_VIDEOS, Extracted, extract, link_videos, synthetic_videos, videos_below
from benchmarks.timing import Results, benchmark_options, start, take_turns, workplace
from benchmarks.torch_loader import compare_doors
from shared.machine.cores import available_cores
from shared.manifests.files import read_dataset, read_manifests
from shared.video.decoding import decode_clip
from train.data.loader.batches import epoch_steps, training_batches
from train.data.loader.prefetch import Prefetcher
from train.data.loader.reader import BatchReader, ClipReader
from train.data.samples import ClipTable, Samples, make_table, real_samples

Frames = npt.NDArray[np.uint8]
OURS, OURS_TSN = "this project, K=1", "this project, K=3, TSN"
LIMIT, JPEG, ON_THE_FLY, PLAIN_H5PY = "limit: memory map copied", "JPEG folders, Pillow", "videos, torchcodec", "h5py"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """One extraction as the loader sees it."""

    place: Extracted
    table: ClipTable
    samples: Samples
    dataset_id: str
    frames_per_segment: int

    @property
    def files(self) -> list[Path]:
        return sorted(self.place.shards.glob("*.h5"))


def open_stored(place: Extracted) -> Stored:
    """Read the manifests of an extraction."""
    dataset = read_dataset(place.manifests)
    table = make_table(read_manifests(place.manifests))
    return Stored(
        place=place,
        table=table,
        samples=real_samples(table, np.arange(len(table.clip_id))),
        dataset_id=dataset.dataset_id,
        frames_per_segment=dataset.frames_per_segment,
    )


def stream_batches(stored: Stored, batches: BatchReader, options: argparse.Namespace) -> int:
    """An epoch as `lsvit-train run` reads it, with a reader that lives as long as the run; returns the clips."""
    stream = training_batches(
        batches,
        stored.samples,
        epoch_steps(len(stored.samples), batch_size=options.batch_size, seed=0, epoch=0),
        seed=0,
        tsn=stored.frames_per_segment > 1,
        num_parts=1,
        own_parts=range(1),
    )
    num_clips = 0
    with Prefetcher(stream, ahead=2) as prefetched:
        for batch in prefetched:
            num_clips += int(batch.parts[0].weight.sum())
            del batch  # as a training step lets go of it once its frames are on the device
    return num_clips


def stream_anew(stored: Stored, options: argparse.Namespace) -> int:
    """The same, opening the shards first."""
    reader = ClipReader(stored.place.shards, stored.table, dataset_id=stored.dataset_id)
    batches = BatchReader(reader, num_threads=options.threads, pinned=False)
    num_clips = stream_batches(stored, batches, options)
    batches.close()
    reader.close()
    return num_clips


def chosen_batches(num_clips: int, batch_size: int) -> Iterator[npt.NDArray[np.int64]]:
    """The same clips in the same order as the stream's."""
    for step in epoch_steps(num_clips, batch_size=batch_size, seed=0, epoch=0):
        yield step.chosen


class MemoryMaps:
    """The frames of shards as plain NumPy memory maps."""

    def __init__(self, stored: Stored) -> None:
        self._maps = []
        for file in stored.files:
            with h5py.File(file) as shard:
                frames = shard["frames"]
                self._maps.append(np.memmap(file, np.uint8, "r", frames.id.get_offset(), frames.shape))
        names = {file.name: index for index, file in enumerate(stored.files)}
        self._places = [
            (names[shard], int(row)) for shard, row in zip(stored.table.shard, stored.table.row, strict=True)
        ]
        self.clip_shape = self._maps[0].shape[1:]

    def copy(self, clip: int, out: Frames) -> None:
        shard, row = self._places[clip]
        out[:] = self._maps[shard][row]


def copy_memory_maps(stored: Stored, maps: MemoryMaps | None, options: argparse.Namespace) -> None:
    """The limit: nothing but copies, into one buffer that is used again and again."""
    maps = maps or MemoryMaps(stored)
    out = np.zeros((options.batch_size, *maps.clip_shape), np.uint8)
    with ThreadPoolExecutor(options.threads) as pool:
        for chosen in chosen_batches(len(stored.samples), options.batch_size):
            list(pool.map(maps.copy, chosen.tolist(), out))


def read_with_h5py(stored: Stored, options: argparse.Namespace) -> None:
    """A data set as most would write it: open files, one indexed read a clip."""
    files = {file.name: h5py.File(file) for file in stored.files}
    table = stored.table
    for chosen in chosen_batches(len(stored.samples), options.batch_size):
        torch.from_numpy(np.stack([files[table.shard[clip]]["frames"][table.row[clip]] for clip in chosen]))
    for file in files.values():
        file.close()


def write_jpegs(stored: Stored, folder: Path) -> list[list[Path]]:
    """The frames of every clip as JPEG files of quality 95 in a folder of its own."""
    maps = MemoryMaps(stored)
    clip = np.empty(maps.clip_shape, np.uint8)
    places = []
    for number in range(len(stored.samples)):
        target = folder / f"clip-{number:05d}"
        target.mkdir(parents=True, exist_ok=True)
        maps.copy(number, clip)
        files = [target / f"{place:04d}.jpg" for place in range(len(clip))]
        for file, frame in zip(files, clip, strict=True):
            Image.fromarray(frame).save(file, quality=95)
        places.append(files)
    return places


def clip_of_jpegs(files: list[Path]) -> Frames:
    """A clip, uint8 (T, H, W, 3), from its frames' files."""
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


def clip_of_video(path: Path) -> Frames:
    """A clip, uint8 (T, H, W, 3), decoded by this project's own exact way."""
    return decode_clip(path).frames.numpy()


def read_clips(read: Callable[[int], Frames], num_clips: int, options: argparse.Namespace) -> None:
    """Batches of clips that threads read one by one."""
    with ThreadPoolExecutor(options.threads) as pool:
        for chosen in chosen_batches(num_clips, options.batch_size):
            torch.from_numpy(np.stack(list(pool.map(read, chosen.tolist()))))


def forget(files: list[Path]) -> None:
    """Give the files' pages in the cache back to the system. Nothing may have them mapped."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """The same clips in every form."""

    middle: Stored
    candidates: Stored
    videos: list[Path]
    jpegs: list[list[Path]]


def make_material(folder: Path, options: argparse.Namespace) -> Material:
    """Extract the clips with K = 1 and K = 3, and write them as JPEG files."""
    originals = videos_below(options.real)
    if not (options.quick and originals):
        originals += synthetic_videos(folder / "synthetic", clips=options.originals)
    videos = link_videos(originals, folder / "videos", count=options.clips)
    workers = available_cores()
    middle, candidates = (
        open_stored(extract(videos, folder / f"k{k}", workers=workers, frames_per_segment=k)) for k in (1, 3)
    )
    jpegs = write_jpegs(middle, folder / "jpegs")
    # Clips are numbered as the manifests sort them, so that every form has the same order.
    paths = sorted(videos_below(videos), key=lambda path: f"{path.parent.name}/{path.stem}")
    return Material(middle=middle, candidates=candidates, videos=paths, jpegs=jpegs)


def compare_warm(results: Results, material: Material, options: argparse.Namespace) -> None:
    """Everything in the page cache, files open and mapped: epochs after the first."""
    middle, candidates = material.middle, material.candidates
    readers = [
        ClipReader(stored.place.shards, stored.table, dataset_id=stored.dataset_id) for stored in (middle, candidates)
    ]
    batches = [BatchReader(reader, num_threads=options.threads, pinned=False) for reader in readers]
    num_clips = len(middle.samples)
    fast: dict[str, Callable[[], object]] = {
        OURS: partial(stream_batches, middle, batches[0], options),
        OURS_TSN: partial(stream_batches, candidates, batches[1], options),
        LIMIT: partial(copy_memory_maps, middle, MemoryMaps(middle), options),
        PLAIN_H5PY: partial(read_with_h5py, middle, options),
    }
    slow: dict[str, Callable[[], object]] = {
        OURS: fast[OURS],
        JPEG: lambda: read_clips(lambda clip: clip_of_jpegs(material.jpegs[clip]), num_clips, options),
        ON_THE_FLY: lambda: read_clips(lambda clip: clip_of_video(material.videos[clip]), num_clips, options),
    }
    _add(results, "warm", fast, rounds=3 * options.rounds, num_clips=num_clips)
    results.add_target("warm: of the copied memory map", results.ratio("warm", OURS, to=LIMIT), least=0.85)
    results.add_target("warm: K=3 against K=1", results.ratio("warm", OURS_TSN, to=OURS), least=1.0)
    compare_doors(results, middle.place, fast[OURS], name=OURS, options=options)
    title = "warm, against decoding"
    _add(results, title, slow, rounds=options.rounds, num_clips=num_clips)
    results.add_target(f"{title}: times JPEG folders", results.ratio(title, OURS, to=JPEG), least=10.0)
    results.add_target(f"{title}: times decoding videos", results.ratio(title, OURS, to=ON_THE_FLY), least=30.0)
    for each in (*batches, *readers):
        each.close()


def compare_cold(results: Results, material: Material, options: argparse.Namespace) -> None:
    """Nothing in the page cache: a first epoch. The disk decides."""
    middle, candidates = material.middle, material.candidates
    jpegs = [file for files in material.jpegs for file in files]
    num_clips = len(middle.samples)
    contestants: dict[str, tuple[list[Path], Callable[[], object]]] = {
        OURS: (middle.files, partial(stream_anew, middle, options)),
        OURS_TSN: (candidates.files, partial(stream_anew, candidates, options)),
        LIMIT: (middle.files, partial(copy_memory_maps, middle, None, options)),
        PLAIN_H5PY: (middle.files, partial(read_with_h5py, middle, options)),
        JPEG: (jpegs, lambda: read_clips(lambda clip: clip_of_jpegs(material.jpegs[clip]), num_clips, options)),
        ON_THE_FLY: (
            material.videos,
            lambda: read_clips(lambda clip: clip_of_video(material.videos[clip]), num_clips, options),
        ),
    }

    def cold(files: list[Path], run: Callable[[], object]) -> None:
        forget(files)
        run()

    os.sync()
    turns = {name: partial(cold, files, run) for name, (files, run) in contestants.items()}
    _add(results, "cold", turns, rounds=options.rounds, num_clips=num_clips)
    results.add_target("cold: of the copied memory map", results.ratio("cold", OURS, to=LIMIT), least=0.85)


def _add(
    results: Results, title: str, contestants: Mapping[str, Callable[[], object]], *, rounds: int, num_clips: int
) -> None:
    results.add_rates(title, take_turns(contestants, rounds=rounds), units=num_clips, unit="clips", reference=OURS)


def main() -> None:
    parser = benchmark_options(__doc__, rounds=5)
    parser.add_argument("--real", type=Path, default=REAL_VIDEOS / "hmdb51", help="folder of genuine videos")
    parser.add_argument("--clips", type=int, default=192)
    parser.add_argument("--originals", type=int, default=20, help="synthetic videos that are rendered")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2, help="threads that read, as `lsvit-train run --workers`")
    options = parser.parse_args()
    results = start("loader", options)
    if options.quick:
        options.clips, options.originals, options.batch_size = 8, 4, 4
    torch.set_num_threads(1)
    with workplace(options) as folder:
        material = make_material(folder, options)
        compare_warm(results, material, options)
        compare_cold(results, material, options)
    results.save(options.json)


if __name__ == "__main__":
    main()
