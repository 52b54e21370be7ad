"""A small data set made without any video: shards and manifests in which each class is a colour that moves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.files import sha256_of
from shared.manifests.files import (
    ClipRow,
    ColourStatistics,
    Dataset,
    ShardEntry,
    row_to_json,
    write_clip_manifests,
    write_dataset,
)
from shared.shards.format import ClipRecord, ShardLayout, crc32_of, shard_name
from shared.shards.writer import PendingShard

CLASSES = ("jump", "run", "walk")
DATASET_ID = "d" * 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class MadeDataset:
    """Where the shards and the manifests lie."""

    shards: Path
    manifests: Path


def make_frames(label: int, clip: int, *, num_rows: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A bright bar of the class's colour that moves over noise: uint8 (num_rows, H, W, 3)."""
    rng = np.random.default_rng([label, clip])
    frames = rng.integers(40, 90, (num_rows, height, width, 3), dtype=np.uint8)
    for row in range(num_rows):
        left = (clip * 3 + row) % (width - 6)
        frames[row, :, left : left + 6, label % 3] = 230
    return frames


def make_dataset(
    folder: Path,
    *,
    clips_per_class: int = 8,
    frames_per_segment: int = 3,
    num_segments: int = 4,
    height: int = 24,
    width: int = 32,
    clips_per_shard: int = 7,
    dataset_id: str = DATASET_ID,
) -> MadeDataset:
    """Write the data set. Two clips share a source; clips 6, 7 of every eight are for test, in every split."""
    made = MadeDataset(shards=folder / "shards", manifests=folder / "manifests")
    made.shards.mkdir(parents=True)
    layout = ShardLayout(
        num_segments=num_segments,
        frames_per_segment=frames_per_segment,
        height=height,
        width=width,
        dataset_id=dataset_id,
    )
    wanted = [(label, clip) for clip in range(clips_per_class) for label in range(len(CLASSES))]
    rows: list[ClipRow] = []
    entries: list[ShardEntry] = []
    for index, start in enumerate(range(0, len(wanted), clips_per_shard)):
        part = wanted[start : start + clips_per_shard]
        name = shard_name(index)
        rows += _write_shard(made.shards / name, layout, part)
        num_bytes, sha256 = (made.shards / name).stat().st_size, sha256_of(made.shards / name)
        entries.append(ShardEntry(file=name, num_clips=len(part), num_bytes=num_bytes, sha256=sha256))
    write_clip_manifests(made.manifests, rows)
    write_dataset(made.manifests, _dataset(layout, rows, entries))
    return made


def _write_shard(path: Path, layout: ShardLayout, part: list[tuple[int, int]]) -> list[ClipRow]:
    rows, records = [], []
    with PendingShard(path, layout, capacity=len(part)) as shard:
        for place, (label, clip) in enumerate(part):
            frames = make_frames(label, clip, num_rows=layout.num_rows, height=layout.height, width=layout.width)
            shard.write_clip(place, frames)
            row = _row(label, clip, frames, shard=path.name, row=place)
            rows.append(row)
            records.append(
                ClipRecord(
                    clip_id=row.clip_id,
                    label=label,
                    frame_index=np.arange(layout.num_rows, dtype=np.int32),
                    crc32=row.crc32,
                    manifest=row_to_json(row),
                )
            )
        shard.complete(records)
        shard.publish()
    return rows


def _row(label: int, clip: int, frames: npt.NDArray[np.uint8], *, shard: str, row: int) -> ClipRow:
    name, part = CLASSES[label], "test" if clip % 8 >= 6 else "train"
    luma = frames.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    values: dict[str, object] = dict.fromkeys((field.name for field in dataclasses.fields(ClipRow)), 0.0)
    values |= {field.name: "" for field in dataclasses.fields(ClipRow) if field.type == "str"}
    values |= {field.name: 0 for field in dataclasses.fields(ClipRow) if field.type == "int"}
    values |= {
        "clip_id": f"{name}/clip{clip:02d}",
        "class_name": name,
        "label": label,
        "path": f"{name}/clip{clip:02d}.avi",
        "source": f"{name}-source{clip // 2}",
        "split1": part,
        "split2": part,
        "split3": part,
        "split_full": part,
        "width": frames.shape[2],
        "height": frames.shape[1],
        "num_frames": len(frames),
        "shard": shard,
        "row": row,
        "crc32": crc32_of(frames),
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "blur": 100.0 + 10 * clip,
        "colorfulness": 20.0 + clip,
    }
    return ClipRow(**values)  # type: ignore[arg-type]


def _dataset(layout: ShardLayout, rows: list[ClipRow], shards: list[ShardEntry]) -> Dataset:
    colour = ColourStatistics(mean=(0.3, 0.3, 0.3), std=(0.2, 0.2, 0.2))
    return Dataset(
        dataset_id=layout.dataset_id,
        size=f"{layout.height}x{layout.width}",
        fit="crop",
        num_segments=layout.num_segments,
        frames_per_segment=layout.frames_per_segment,
        clips_per_shard=7,
        seed=0,
        synthetic=True,
        class_names=CLASSES,
        num_videos=len(rows),
        num_clips=len(rows),
        num_quarantined=0,
        clips_per_class={},
        clips_per_split={},
        rgb=dict.fromkeys(("split1", "split2", "split3", "split_full"), colour),
        shards=tuple(shards),
    )
