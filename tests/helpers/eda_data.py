"""Data sets made for the tests of the report: manifests with HMDB51's names, shards with tiny pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocess.eda.summary import Summary, summarize
from shared.manifests.files import (
    STATISTIC_COLUMNS,
    ClipRow,
    ColourStatistics,
    Dataset,
    QuarantineRow,
    read_dataset,
    read_manifests,
    read_quarantine,
    write_clip_manifests,
    write_dataset,
    write_quarantine,
)
from shared.manifests.left_out import read_left_out
from shared.manifests.notes import read_notes
from shared.shards.format import ClipRecord, ShardLayout, crc32_of, shard_name
from shared.shards.writer import PendingShard
from shared.splits.parts import ClipSplits, official_splits
from shared.splits.sources import parse_name

DATASET_ID = "0123456789abcdef" * 4
NUM_SEGMENTS, HEIGHT, WIDTH = 4, 48, 64


def clip_row(index: int, clip_id: str, class_names: list[str], splits: ClipSplits, *, shard: str, row: int) -> ClipRow:
    """A manifest row with plausible, seeded values; a clip in ten is padded, one in three is wide."""
    generator = np.random.default_rng([index, 1])
    class_name, stem = clip_id.split("/", 1)
    tags = parse_name(stem, class_name=class_name)
    num_frames = int(generator.integers(2, 4)) if index % 10 == 0 else int(20 + generator.gamma(2, 40))
    values = dict(zip(STATISTIC_COLUMNS, (generator.random(len(STATISTIC_COLUMNS)) * 100).tolist(), strict=True))
    label = class_names.index(class_name)
    values["brightness"] = float(np.clip(90 + label / 2 + generator.normal() * 30, 1, 254))
    values["blur"] = float(np.exp(generator.normal(5, 1)))
    values["saturation_mean"] = float(generator.beta(2, 5))
    hue = generator.dirichlet(np.ones(8))
    values.update({f"hue_hist_{bin_}": float(hue[bin_]) for bin_ in range(8)})
    return ClipRow(
        clip_id=clip_id,
        class_name=class_name,
        label=label,
        path=f"{clip_id}.avi",
        source=tags.source,
        split1=splits.split1,
        split2=splits.split2,
        split3=splits.split3,
        split_full=splits.split_full,
        body=tags.body,
        camera_motion=tags.camera_motion,
        num_people=tags.num_people,
        viewpoint=tags.viewpoint,
        quality=tags.quality,
        codec="mpeg4",
        fps=30.0,
        width=(320, 424, 560)[index % 3],
        height=240,
        num_frames=num_frames,
        num_frames_header=num_frames + 1 if index % 50 else 2 * num_frames + 3,
        duration_seconds=num_frames / 30,
        num_padded=max(0, NUM_SEGMENTS - num_frames),
        decode_errors=2 if index % 50 == 7 else 0,
        decoder="cpu",
        shard=shard,
        row=row,
        crc32=0,
        **values,
    )


def picture_of(key: str) -> npt.NDArray[np.uint8]:
    """A clip, uint8 (T, 48, 64, 3): a smooth pattern of its own for each key, drifting a little from frame to frame."""
    generator = np.random.default_rng(list(key.encode()))
    coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = coarse.repeat(8, axis=0).repeat(8, axis=1)
    return np.stack([np.roll(picture, shift, axis=1) for shift in range(NUM_SEGMENTS)])


def write_data_set(
    folder: Path,
    clip_ids: list[str],
    *,
    splits: dict[str, ClipSplits] | None = None,
    pictures: dict[str, npt.NDArray[np.uint8]] | None = None,
    quarantined: tuple[QuarantineRow, ...] = (),
    synthetic: bool = False,
    clips_a_shard: int = 64,
    with_shards: bool = True,
) -> tuple[Path, Path]:
    """Write manifests and shards of the clips; returns (manifests, shards). splits default to the official table."""
    manifests, shards = folder / "manifests", folder / "shards"
    shards.mkdir(parents=True)
    splits = splits or official_splits()
    class_names = sorted({clip_id.split("/", 1)[0] for clip_id in clip_ids})
    rows = []
    for start in range(0, len(clip_ids), clips_a_shard):
        members = clip_ids[start : start + clips_a_shard]
        name = shard_name(start // clips_a_shard)
        rows += [
            clip_row(start + row, clip_id, class_names, splits[clip_id], shard=name, row=row)
            for row, clip_id in enumerate(members)
        ]
        if with_shards:
            _write_shard(shards / name, members, pictures or {})
    write_clip_manifests(manifests, rows)
    write_quarantine(manifests, quarantined)
    write_dataset(manifests, _dataset(rows, class_names, len(quarantined), synthetic=synthetic))
    return manifests, shards


def _write_shard(path: Path, clip_ids: list[str], pictures: dict[str, npt.NDArray[np.uint8]]) -> None:
    layout = ShardLayout(
        num_segments=NUM_SEGMENTS, frames_per_segment=1, height=HEIGHT, width=WIDTH, dataset_id=DATASET_ID
    )
    records: list[ClipRecord | None] = []
    with PendingShard(path, layout, capacity=len(clip_ids)) as shard:
        for row, clip_id in enumerate(clip_ids):
            frames = pictures.get(clip_id, picture_of(clip_id))
            shard.write_clip(row, frames)
            index = np.arange(NUM_SEGMENTS, dtype=np.int32)
            records.append(
                ClipRecord(clip_id=clip_id, label=0, frame_index=index, crc32=crc32_of(frames), manifest="{}")
            )
        shard.complete(records)
        shard.publish()


def _dataset(rows: list[ClipRow], class_names: list[str], num_quarantined: int, *, synthetic: bool) -> Dataset:
    colour = ColourStatistics(mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))
    return Dataset(
        dataset_id=DATASET_ID,
        size="224x304",
        fit="crop",
        num_segments=NUM_SEGMENTS,
        frames_per_segment=1,
        clips_per_shard=64,
        seed=0,
        synthetic=synthetic,
        class_names=tuple(class_names),
        num_videos=len(rows) + num_quarantined,
        num_clips=len(rows),
        num_quarantined=num_quarantined,
        clips_per_class={name: sum(row.class_name == name for row in rows) for name in class_names},
        clips_per_split={},
        rgb={"split1": colour},
        shards=(),
    )


def summary_of(manifests: Path) -> Summary:
    """What the report says of a data set, read from its manifests."""
    return summarize(
        read_manifests(manifests),
        read_dataset(manifests),
        quarantine=read_quarantine(manifests),
        notes=read_notes(manifests),
        left_out=read_left_out(manifests),
    )
