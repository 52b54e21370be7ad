"""Extracts blocks of videos into shards with a pool of workers: the next starts while the last is completed."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from preprocess.extract.clips import ClipFacts, ClipJob, MeasuredClip, ProbeJob, clip_row, extract_clip, probe_size
from preprocess.extract.extraction_plan import Block, ExtractionPlan
from preprocess.extract.merge import sha256_of
from preprocess.extract.state import BlockOutcome, remove_leftovers, write_outcome
from shared.classes import Video
from shared.console import progress, say
from shared.errors import DataError
from shared.manifests import ClipRow, QuarantineRow, row_to_json
from shared.shards.format import ClipRecord, shard_name
from shared.shards.writer import PendingShard
from shared.workers import DECODING_MODULES, Ticket, WorkerDied, WorkerOverran, WorkerPool

_NUM_BLOCKS_AHEAD = 2
Done = TypeVar("Done")


@dataclass(frozen=True, kw_only=True)
class BlockInWork:
    """A block whose jobs are with the workers."""

    block: Block
    shard: PendingShard
    jobs: tuple[ClipJob, ...]
    tickets: tuple[Ticket[MeasuredClip | QuarantineRow], ...]


def extract_blocks(
    plan: ExtractionPlan,
    blocks: Sequence[Block],
    *,
    facts: ClipFacts,
    videos: Path,
    shards: Path,
    device: str,
    num_workers: int,
    timeout_seconds: float,
) -> None:
    """Write the shard of each block, in order. Interrupted at any moment it leaves complete shards and no others."""
    waiting: deque[BlockInWork] = deque()
    num_clips = sum(len(block.videos) for block in blocks)
    with (
        contextlib.ExitStack() as pending,
        decoding_pool(num_workers=num_workers, timeout_seconds=timeout_seconds) as pool,
        ThreadPoolExecutor(max_workers=1) as thread,
        progress("extracting", num_clips) as advance,
    ):
        # Checksums and syncing take place in a thread, so that meanwhile the workers are given their next jobs.
        publishing: Future[None] = thread.submit(lambda: None)
        for block in blocks:
            waiting.append(_start(plan, block, pool, pending, videos=videos, shards=shards, device=device))
            if len(waiting) > _NUM_BLOCKS_AHEAD:
                collected = _collect(waiting.popleft(), facts, pool, advance)
                publishing.result()
                publishing = thread.submit(_publish, *collected)
        while waiting:
            collected = _collect(waiting.popleft(), facts, pool, advance)
            publishing.result()
            publishing = thread.submit(_publish, *collected)
        publishing.result()


def decoding_pool(*, num_workers: int, timeout_seconds: float) -> WorkerPool:
    """Workers that can decode."""
    return WorkerPool(num_workers=num_workers, timeout_seconds=timeout_seconds, preload=DECODING_MODULES)


def probe_sizes(
    videos: Sequence[Video], *, folder: Path, num_workers: int, timeout_seconds: float
) -> list[tuple[int, int] | QuarantineRow]:
    """(height, width) of each video from its header, in order, or why there is none."""
    with decoding_pool(num_workers=num_workers, timeout_seconds=timeout_seconds) as pool:
        jobs = [ProbeJob(video=folder / video.path, path=video.path) for video in videos]
        tickets = [pool.submit(probe_size, job) for job in jobs]
        sizes: list[tuple[int, int] | QuarantineRow] = []
        for job, ticket in zip(jobs, tickets, strict=True):
            outcome = pool.wait(ticket)
            sizes.append(_or_quarantine(outcome, job.path))
        return sizes


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
    return BlockInWork(
        block=block, shard=shard, jobs=jobs, tickets=tuple(pool.submit(extract_clip, job) for job in jobs)
    )


def _collect(
    work: BlockInWork, facts: ClipFacts, pool: WorkerPool, advance: Callable[[int], None]
) -> tuple[BlockInWork, list[ClipRecord | None], list[QuarantineRow]]:
    """Wait for a block's clips. A quarantined clip has a row in the second list and None in the first."""
    records: list[ClipRecord | None] = []
    quarantined: list[QuarantineRow] = []
    for video, job, ticket in zip(work.block.videos, work.jobs, work.tickets, strict=True):
        result = _result(pool, job, ticket)
        if isinstance(result, QuarantineRow):
            quarantined.append(result)
            records.append(None)
        else:
            num_kept = len(records) - len(quarantined)
            row = clip_row(video, result, facts, shard=work.shard.path.name, row=num_kept)
            records.append(_record(row, result))
        advance(1)
    return work, records, quarantined


def _publish(work: BlockInWork, records: list[ClipRecord | None], quarantined: list[QuarantineRow]) -> None:
    """Complete a block's shard; note its outcome, then give it its final name."""
    shards = work.shard.path.parent
    if len(quarantined) == len(records):
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


def _result(
    pool: WorkerPool, job: ClipJob, ticket: Ticket[MeasuredClip | QuarantineRow]
) -> MeasuredClip | QuarantineRow:
    outcome = pool.wait(ticket)
    if isinstance(outcome, WorkerDied):
        # Once may be the kernel short of memory; twice is the video.
        outcome = pool.wait(pool.submit(extract_clip, job))
    return _or_quarantine(outcome, job.path)


def _or_quarantine(outcome: Done | WorkerDied | WorkerOverran, path: str) -> Done | QuarantineRow:
    if isinstance(outcome, WorkerDied):
        error = f"the decoding process died with exit code {outcome.exit_code}"
        return QuarantineRow(path=path, stage="crash", error=error)
    if isinstance(outcome, WorkerOverran):
        error = f"decoding took more than {outcome.seconds:g} s (--timeout)"
        return QuarantineRow(path=path, stage="timeout", error=error)
    return outcome


def _record(row: ClipRow, clip: MeasuredClip) -> ClipRecord:
    return ClipRecord(
        clip_id=row.clip_id,
        label=row.label,
        frame_index=clip.frame_index,
        crc32=clip.crc32,
        manifest=row_to_json(row),
    )


_NUM_TRIAL_VIDEOS = 16


def choose_device(device: str, plan: ExtractionPlan, *, videos: Path, num_workers: int, timeout_seconds: float) -> str:
    """``cpu`` or ``cuda``. ``auto`` decodes a few of the videos on both and takes the faster.

    Raises DataError where cuda is asked for and there is none.
    """
    if device == "cpu":
        return device
    import torch

    if not torch.cuda.is_available():
        if device == "cuda":
            raise DataError("--device cuda: no CUDA GPU is to be seen; see `hmdb-prep doctor`, or use --device cpu")
        say("--device auto: no CUDA GPU is to be seen, decoding on the CPU")
        return "cpu"
    if device == "cuda":
        return device
    jobs = trial_jobs(plan, videos=videos)
    rates = {
        name: clips_per_second(jobs, device=name, num_workers=num_workers, timeout_seconds=timeout_seconds)
        for name in ("cpu", "cuda")
    }
    faster = max(rates, key=lambda name: rates[name])
    say(f"--device auto: {rates['cpu']:.1f} clips/s on the CPU, {rates['cuda']:.1f} on the GPU: {faster}")
    return faster


def trial_jobs(plan: ExtractionPlan, *, videos: Path) -> list[ClipJob]:
    """Jobs that decode and measure a few of the planned videos and write nothing."""
    planned = [(block, video) for block in plan.blocks for video in block.videos][:_NUM_TRIAL_VIDEOS]
    return [
        ClipJob(
            video=videos / video.path,
            path=video.path,
            height=block.height,
            width=block.width,
            size=plan.parameters.frame_size,
            num_segments=plan.parameters.num_segments,
            frames_per_segment=plan.parameters.frames_per_segment,
            device="cpu",
            shard_file=None,
            frames_offset=0,
            row=0,
        )
        for block, video in planned
    ]


def clips_per_second(jobs: Sequence[ClipJob], *, device: str, num_workers: int, timeout_seconds: float) -> float:
    """Decode the jobs on a device, once to warm up and once timed."""
    moved = [dataclasses.replace(job, device=device) for job in jobs]
    with decoding_pool(num_workers=num_workers, timeout_seconds=timeout_seconds) as pool:
        seconds = 0.0
        for _ in range(2):
            started = time.monotonic()
            for ticket in [pool.submit(extract_clip, job) for job in moved]:
                pool.wait(ticket)
            seconds = time.monotonic() - started
    return len(jobs) / max(seconds, 1e-9)
