"""Extracts videos into shards with a pool of decoding processes: the next is begun while the last is completed."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from preprocess.extract.clips import ClipJob, MeasuredClip, clip_row, extract_clip, probe_size
from preprocess.extract.extraction_plan import DECODING_MODULES, Extraction, PlannedShard
from preprocess.extract.state import ShardOutcome, write_outcome
from shared.classes import Video
from shared.console import progress, say
from shared.errors import DataError
from shared.files import sha256_of
from shared.manifests import QuarantineRow, row_to_json
from shared.shards.format import ClipRecord
from shared.shards.writer import ClipPlace, PendingShard, remove_pending_shards
from shared.workers import Ticket, WorkerDied, WorkerOverran, WorkerPool

_NUM_SHARDS_AHEAD = 2
_NUM_TRIAL_VIDEOS = 16
Done = TypeVar("Done")


@dataclass(frozen=True, kw_only=True)
class ShardInWork:
    """A shard whose jobs are with the workers, one for each of its videos."""

    planned: PlannedShard
    pending: PendingShard
    jobs: tuple[ClipJob, ...]
    tickets: tuple[Ticket[MeasuredClip | QuarantineRow], ...]


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What the workers made of a shard's videos. records: in the order of its rows, None for a quarantined video."""

    records: tuple[ClipRecord | None, ...]
    quarantined: tuple[QuarantineRow, ...]


def extract_shards(extraction: Extraction, shards: Sequence[PlannedShard]) -> None:
    """Write the shards, in order. Interrupted at any moment it leaves complete shards and no others."""
    waiting: deque[ShardInWork] = deque()
    with (
        contextlib.ExitStack() as pending,
        decoding_pool(num_workers=extraction.num_workers, timeout_seconds=extraction.timeout_seconds) as pool,
        ThreadPoolExecutor(max_workers=1) as thread,
        progress("extracting", sum(len(shard.videos) for shard in shards)) as advance,
    ):
        # Checksums and syncing take place in a thread, so that meanwhile the workers are given their next jobs.
        publishing: Future[None] = thread.submit(lambda: None)

        def finish_first() -> None:
            nonlocal publishing
            work = waiting.popleft()
            collected = _collect(work, extraction, pool, advance)
            publishing.result()
            publishing = thread.submit(_publish, work, collected)

        for shard in shards:
            waiting.append(_start(extraction, shard, pool, pending))
            if len(waiting) > _NUM_SHARDS_AHEAD:
                finish_first()
        while waiting:
            finish_first()
        publishing.result()


def decoding_pool(*, num_workers: int, timeout_seconds: float) -> WorkerPool:
    """Workers that can decode."""
    return WorkerPool(num_workers=num_workers, timeout_seconds=timeout_seconds, preload=DECODING_MODULES)


def probe_sizes(
    videos: Sequence[Video], *, folder: Path, num_workers: int, timeout_seconds: float
) -> list[tuple[int, int] | QuarantineRow]:
    """(height, width) of each video from its header, in order, or why there is none."""
    with decoding_pool(num_workers=num_workers, timeout_seconds=timeout_seconds) as pool:
        tickets = [pool.submit(partial(probe_size, folder), video.path) for video in videos]
        sizes: list[tuple[int, int] | QuarantineRow] = []
        for video, ticket in zip(videos, tickets, strict=True):
            outcome = pool.wait(ticket)
            sizes.append(_or_quarantine(outcome, video.path))
        return sizes


def _start(extraction: Extraction, shard: PlannedShard, pool: WorkerPool, pending: contextlib.ExitStack) -> ShardInWork:
    remove_pending_shards(extraction.shards_folder, name=shard.name)
    path = extraction.shards_folder / shard.name
    file = PendingShard(path, extraction.plan.layout(shard), capacity=len(shard.videos))
    pending.enter_context(file)
    jobs = tuple(_clip_job(extraction, shard, video, place=file.place(row)) for row, video in enumerate(shard.videos))
    tickets = tuple(pool.submit(extract_clip, job) for job in jobs)
    return ShardInWork(planned=shard, pending=file, jobs=jobs, tickets=tickets)


def _clip_job(extraction: Extraction, shard: PlannedShard, video: Video, *, place: ClipPlace | None) -> ClipJob:
    return ClipJob(
        video=extraction.videos_folder / video.path,
        path=video.path,
        shape=extraction.plan.parameters.clip_shape,
        height=shard.height,
        width=shard.width,
        device=extraction.device,
        place=place,
    )


def _collect(work: ShardInWork, extraction: Extraction, pool: WorkerPool, advance: Callable[[int], None]) -> Collected:
    """Wait for a shard's clips."""
    records: list[ClipRecord | None] = []
    quarantined: list[QuarantineRow] = []
    for video, job, ticket in zip(work.planned.videos, work.jobs, work.tickets, strict=True):
        result = _result(pool, job, ticket)
        if isinstance(result, QuarantineRow):
            quarantined.append(result)
            records.append(None)
        else:
            num_kept = len(records) - len(quarantined)
            row = clip_row(video, result, extraction.facts, shard=work.planned.name, row=num_kept)
            records.append(
                ClipRecord(
                    clip_id=row.clip_id,
                    label=row.label,
                    frame_index=result.frame_index,
                    crc32=row.crc32,
                    manifest=row_to_json(row),
                )
            )
        advance(1)
    return Collected(records=tuple(records), quarantined=tuple(quarantined))


def _publish(work: ShardInWork, collected: Collected) -> None:
    """Complete a shard; note its outcome, then give it its final name."""
    pending, quarantined = work.pending, collected.quarantined
    folder = pending.path.parent
    if len(quarantined) == len(work.jobs):
        pending.discard()
        write_outcome(folder, work.planned, ShardOutcome(sha256="", num_bytes=0, quarantined=quarantined))
        return
    pending.complete(collected.records)
    file = pending.temporary
    outcome = ShardOutcome(sha256=sha256_of(file), num_bytes=file.stat().st_size, quarantined=quarantined)
    write_outcome(folder, work.planned, outcome)
    pending.publish()


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


def decoding_device(extraction: Extraction) -> str:
    """``cpu`` or ``cuda``. For device ``auto`` a few of the videos are decoded on both, and the faster one is taken.

    Raises DataError where cuda is asked for and there is none.
    """
    device = extraction.device
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
    rates = {name: clips_per_second(dataclasses.replace(extraction, device=name)) for name in ("cpu", "cuda")}
    faster = max(rates, key=lambda name: rates[name])
    say(f"--device auto: {rates['cpu']:.1f} clips/s on the CPU, {rates['cuda']:.1f} on the GPU: {faster}")
    return faster


def clips_per_second(extraction: Extraction) -> float:
    """Decode and measure a few of the planned videos, once to warm up and once timed. Nothing is written."""
    jobs = list(islice(_trial_jobs(extraction), _NUM_TRIAL_VIDEOS))
    with decoding_pool(num_workers=extraction.num_workers, timeout_seconds=extraction.timeout_seconds) as pool:
        seconds = 0.0
        for _ in range(2):
            started = time.monotonic()
            for ticket in [pool.submit(extract_clip, job) for job in jobs]:
                pool.wait(ticket)
            seconds = time.monotonic() - started
    return len(jobs) / max(seconds, 1e-9)


def _trial_jobs(extraction: Extraction) -> Iterator[ClipJob]:
    return (
        _clip_job(extraction, shard, video, place=None) for shard in extraction.plan.shards for video in shard.videos
    )
