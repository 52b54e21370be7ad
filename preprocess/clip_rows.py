"""From a planned video and what was measured of it to its manifest row."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from preprocess.clip_worker import MeasuredClip
from preprocess.plan import ExtractionPlan
from shared.classes import Video, parse_name
from shared.manifests import ClipRow
from shared.splits import ClipSplits, assign_splits


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What is known of every clip before decoding: its label and its splits, by clip_id."""

    labels: dict[str, int]
    splits: dict[str, ClipSplits]


def clip_facts(plan: ExtractionPlan) -> ClipFacts:
    """Labels and splits of all planned videos, the quarantined ones too, so that they never depend on decoding."""
    class_names = sorted({video.class_name for video in plan.videos})
    labels = {name: label for label, name in enumerate(class_names)}
    planned = [video for block in plan.blocks for video in block.videos]
    sources = [parse_name(video.stem, class_name=video.class_name).source for video in planned]
    splits = assign_splits([video.clip_id for video in planned], [video.class_name for video in planned], sources)
    return ClipFacts(
        labels={video.clip_id: labels[video.class_name] for video in planned},
        splits={video.clip_id: split for video, split in zip(planned, splits, strict=True)},
    )


def clip_row(video: Video, clip: MeasuredClip, facts: ClipFacts, *, shard: str, row: int) -> ClipRow:
    """The manifest row of a measured clip. duration_seconds is num_frames / fps, 0 where the header gives no rate."""
    tags = parse_name(video.stem, class_name=video.class_name)
    splits = facts.splits[video.clip_id]
    return ClipRow(
        clip_id=video.clip_id,
        class_name=video.class_name,
        label=facts.labels[video.clip_id],
        path=video.path,
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
        codec=clip.header.codec,
        fps=clip.header.fps,
        width=clip.header.width,
        height=clip.header.height,
        num_frames=clip.num_frames,
        num_frames_header=clip.header.num_frames,
        duration_seconds=clip.num_frames / clip.header.fps if clip.header.fps else 0.0,
        num_padded=clip.num_padded,
        decoder=clip.decoder,
        shard=shard,
        row=row,
        crc32=clip.crc32,
        **dataclasses.asdict(clip.statistics),
    )
