"""Extracts blocks of videos into shards with a pool of workers: the next starts while the last is completed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.clip_worker import ClipJob, MeasuredClip
from preprocess.extraction_state import BlockOutcome, remove_leftovers, write_outcome
from preprocess.merge import sha256_of
from preprocess.plan import Block, ExtractionPlan
from preprocess.worker_pool import ClipFuture, WorkerPool
from shared.classes import Video, parse_name
from shared.console import progress
from shared.manifests import ClipRow, QuarantineRow, row_to_json
from shared.shards import ClipRecord, PendingShard, shard_name
from shared.splits import ClipSplits, assign_splits

_NUM_BLOCKS_AHEAD = 2


@dataclass(frozen=True, kw_only=True)
class BlockInWork:
    """A block whose jobs are with the workers."""

    block: Block
    shard: PendingShard
    jobs: tuple[ClipJob, ...]
    futures: tuple[ClipFuture, ...]


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What is known of every clip before decoding: its label and its splits, by clip_id."""

    labels: dict[str, int]
    splits: dict[str, ClipSplits]


def extract_blocks(
    plan: ExtractionPlan,
    blocks: Sequence[Block],
    *,
    videos: Path,
    shards: Path,
    device: str,
    num_workers: int,
    timeout_seconds: float,
) -> None:
    """Write the shard of each block, in order. Interrupted at any moment it leaves complete shards and no others."""
    facts = clip_facts(plan)
    waiting: deque[BlockInWork] = deque()
    num_clips = sum(len(block.videos) for block in blocks)
    with (
        WorkerPool(num_workers=num_workers, timeout_seconds=timeout_seconds) as pool,
        contextlib.ExitStack() as pending,
        progress("extracting", num_clips) as advance,
    ):
        for block in blocks:
            waiting.append(_start(plan, block, pool, pending, videos=videos, shards=shards, device=device))
            if len(waiting) > _NUM_BLOCKS_AHEAD:
                _complete(waiting.popleft(), facts, pool, advance)
        while waiting:
            _complete(waiting.popleft(), facts, pool, advance)


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


def _start(
    plan: ExtractionPlan,
    block: Block,
    pool: WorkerPool,
    pending: contextlib.ExitStack,
    *,
    videos: Path,
    shards: Path,
    device: str,
) -> BlockInWork:
    remove_leftovers(shards, block=block)
    path = shards / shard_name(block.index)
    shard = pending.enter_context(PendingShard(path, plan.layout(block), capacity=len(block.videos)))
    jobs = tuple(
        ClipJob(
            video=videos / video.path,
            path=video.path,
            height=block.height,
            width=block.width,
            size=plan.parameters.frame_size,
            num_segments=plan.parameters.num_segments,
            frames_per_segment=plan.parameters.frames_per_segment,
            device=device,
            shard_file=shard.temporary,
            frames_offset=shard.frames_offset,
            row=row,
        )
        for row, video in enumerate(block.videos)
    )
    return BlockInWork(block=block, shard=shard, jobs=jobs, futures=tuple(pool.submit(job) for job in jobs))


def _complete(work: BlockInWork, facts: ClipFacts, pool: WorkerPool, advance: Callable[[int], None]) -> None:
    """Wait for a block's clips; note its outcome, then publish its shard."""
    records: list[ClipRecord | None] = []
    quarantined: list[QuarantineRow] = []
    num_kept = 0
    for video, job, future in zip(work.block.videos, work.jobs, work.futures, strict=True):
        result = pool.outcome(job, future)
        if isinstance(result, QuarantineRow):
            quarantined.append(result)
            records.append(None)
        else:
            row = clip_row(video, result, facts, shard=work.shard.path.name, row=num_kept)
            records.append(_record(row, result))
            num_kept += 1
        advance(1)
    shards = work.shard.path.parent
    if not num_kept:
        work.shard.discard()
        write_outcome(shards, work.block, BlockOutcome(sha256="", num_bytes=0, quarantined=tuple(quarantined)))
        return
    work.shard.complete(records)
    outcome = BlockOutcome(
        sha256=sha256_of(work.shard.temporary),
        num_bytes=work.shard.temporary.stat().st_size,
        quarantined=tuple(quarantined),
    )
    write_outcome(shards, work.block, outcome)
    work.shard.publish()


def _record(row: ClipRow, clip: MeasuredClip) -> ClipRecord:
    return ClipRecord(
        clip_id=row.clip_id,
        label=row.label,
        frame_index=clip.frame_index,
        crc32=clip.crc32,
        manifest=row_to_json(row),
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
