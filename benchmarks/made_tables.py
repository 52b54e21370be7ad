"""Data sets of any number of rows, without any video: manifests and shards with tiny pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.clips_on_disk import Extracted
from shared.classes import HMDB51_CLASSES
from shared.manifests.files import (
    STATISTIC_COLUMNS,
    ClipRow,
    ColourStatistics,
    Dataset,
    write_clip_manifests,
    write_dataset,
    write_quarantine,
)
from shared.shards.format import ClipRecord, ShardLayout, crc32_of, shard_name
from shared.shards.writer import PendingShard

DATASET_ID = "b" * 64
CLIPS_A_SHARD = 1000
NUM_SEGMENTS, SIDE = 4, 16
CLIPS_A_COPY = 100  # every so many clips one shows the same as the one before
_CLIPS_A_SOURCE = 5


def make_tables(folder: Path, *, num_rows: int, num_classes: int = len(HMDB51_CLASSES)) -> Extracted:
    """Write manifests and shards of ``num_rows`` clips in imbalanced classes; three sources in ten are for test.

    The first 51 classes bear HMDB51's names. One clip in a hundred looks like another one.
    """
    class_names = [*HMDB51_CLASSES, *(f"action_{number:03d}" for number in range(num_classes - len(HMDB51_CLASSES)))]
    made = Extracted(shards=folder / "shards", manifests=folder / "manifests")
    made.shards.mkdir(parents=True)
    labels = _labels(num_rows, num_classes)
    rows: list[ClipRow] = []
    for index, start in enumerate(range(0, num_rows, CLIPS_A_SHARD)):
        members = [class_names[label] for label in labels[start : start + CLIPS_A_SHARD]]
        rows += _write_shard(made.shards / shard_name(index), members, class_names, first=start)
    write_clip_manifests(made.manifests, rows)
    write_quarantine(made.manifests, ())
    write_dataset(made.manifests, _dataset(rows))
    return made


def _labels(num_rows: int, num_classes: int) -> npt.NDArray[np.int64]:
    """The last classes are the largest, six times the first; every class has a clip where rows allow."""
    shares = np.linspace(1, 6, num_classes)
    edges = np.cumsum(shares) / shares.sum()
    return np.searchsorted(edges, (np.arange(num_rows) + 0.5) / num_rows).astype(np.int64)


def _write_shard(path: Path, members: list[str], class_names: list[str], *, first: int) -> list[ClipRow]:
    layout = ShardLayout(
        num_segments=NUM_SEGMENTS, frames_per_segment=1, height=SIDE, width=SIDE, dataset_id=DATASET_ID
    )
    generator = np.random.default_rng(first)
    frames = _pictures(len(members), generator)
    rows, records = [], []
    with PendingShard(path, layout, capacity=len(members)) as shard:
        for place, class_name in enumerate(members):
            label = class_names.index(class_name)
            shard.write_clip(place, frames[place])
            row = _row(
                first + place, class_name, label, generator, shard=path.name, place=place, crc32=crc32_of(frames[place])
            )
            rows.append(row)
            index = np.arange(NUM_SEGMENTS, dtype=np.int32)
            records.append(
                ClipRecord(clip_id=row.clip_id, label=label, frame_index=index, crc32=row.crc32, manifest="{}")
            )
        shard.complete(records)
        shard.publish()
    return rows


def _pictures(count: int, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Clips (count, T, H, W, 3) whose detail is as strong as that of scenes: amplitudes fall as one over frequency."""
    noise = generator.standard_normal((count, NUM_SEGMENTS, SIDE, SIDE, 3), dtype=np.float32)
    across, down = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE))
    falling = 1 / np.maximum(np.hypot(across, down), 1 / SIDE)
    scenes = np.fft.ifft2(np.fft.fft2(noise, axes=(2, 3)) * falling[..., None], axes=(2, 3)).real
    scenes *= 50 / scenes.std(axis=(1, 2, 3, 4), keepdims=True)
    copies = np.arange(CLIPS_A_COPY - 1, count, CLIPS_A_COPY)
    scenes[copies] = 0.9 * scenes[copies - 1] + 5
    return np.clip(scenes + 128, 0, 255).astype(np.uint8)


def _row(
    index: int, class_name: str, label: int, generator: np.random.Generator, *, shard: str, place: int, crc32: int
) -> ClipRow:
    source = f"film{index // _CLIPS_A_SOURCE}"
    clip_id = f"{class_name}/{source}_{class_name}_f_cm_np1_ba_med_{index}"
    part = "test" if index // _CLIPS_A_SOURCE % 10 < 3 else "train"
    values = dict(zip(STATISTIC_COLUMNS, (100 * generator.random(len(STATISTIC_COLUMNS))).tolist(), strict=True))
    num_frames = int(generator.integers(20, 300))
    return ClipRow(
        clip_id=clip_id,
        class_name=class_name,
        label=label,
        path=f"{clip_id}.avi",
        source=source,
        split1=part,
        split2=part,
        split3=part,
        split_full=part,
        body="f",
        camera_motion="cm",
        num_people="1",
        viewpoint="ba",
        quality="med",
        codec="mpeg4",
        fps=30.0,
        width=320,
        height=240,
        num_frames=num_frames,
        num_frames_header=num_frames + 1,
        duration_seconds=num_frames / 30,
        num_padded=0,
        decoder="cpu",
        shard=shard,
        row=place,
        crc32=crc32,
        **values,
    )


def _dataset(rows: list[ClipRow]) -> Dataset:
    class_names = tuple(sorted({row.class_name for row in rows}))
    colour = ColourStatistics(mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))
    counts = dict.fromkeys(class_names, 0)
    for row in rows:
        counts[row.class_name] += 1
    return Dataset(
        dataset_id=DATASET_ID,
        size=f"{SIDE}x{SIDE}",
        fit="crop",
        num_segments=NUM_SEGMENTS,
        frames_per_segment=1,
        clips_per_shard=CLIPS_A_SHARD,
        seed=0,
        synthetic=True,
        class_names=class_names,
        num_videos=len(rows),
        num_clips=len(rows),
        num_quarantined=0,
        clips_per_class=counts,
        clips_per_split={},
        rgb=dict.fromkeys(("split1", "split2", "split3", "split_full"), colour),
        shards=(),
    )
