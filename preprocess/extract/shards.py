"""Extracts videos into shards with a pool of decoding processes: the next is begun while the last is completed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from preprocess.extract.clips import ClipJob, MeasuredClip, clip_row, extract_clip, notes_on, probe_size
from preprocess.extract.decoders import DecoderCounts, warn_of_idle_gpu
from preprocess.extract.extraction_plan import DECODING_MODULES, Extraction, PlannedShard
from preprocess.extract.state import ShardOutcome, write_outcome
from shared.files import sha256_of
from shared.machine.workers import Ticket, WorkerDied, WorkerOverran, WorkerPool
from shared.manifests.files import QuarantineRow, row_to_json
from shared.manifests.notes import NoteRow
from shared.shards.format import ClipRecord
from shared.shards.writer import ClipPlace, PendingShard, remove_pending_shards
from shared.terminal.console import progress
from shared.terminal.interrupts import held
from shared.video.listing import Video

_NUM_SHARDS_AHEAD = 2
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
    """What the workers made of a shard's videos."""

    records: tuple[ClipRecord | None, ...]
    """In the order of its rows; None for a quarantined video."""
    quarantined: tuple[QuarantineRow, ...]
    notes: tuple[NoteRow, ...]
    decoders: DecoderCounts


def extract_shards(extraction: Extraction, shards: Sequence[PlannedShard]) -> DecoderCounts:
    """Write the shards, in order. Interrupted at any moment it leaves complete shards and no others."""
    decoders = DecoderCounts()
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
            nonlocal publishing, decoders
            work = waiting.popleft()
            collected = _collect(work, extraction, pool, advance)
            if extraction.device != "cpu" and not decoders.num_clips:
                warn_of_idle_gpu(collected.decoders)
            decoders += collected.decoders
            publishing.result()
            publishing = thread.submit(_publish, work, collected)

        for shard in shards:
            waiting.append(_start(extraction, shard, pool, pending))
            if len(waiting) > _NUM_SHARDS_AHEAD:
                finish_first()
        while waiting:
            finish_first()
        publishing.result()
    return decoders


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
    with held():  # else its file might be left
        file = pending.enter_context(PendingShard(path, extraction.plan.layout(shard), capacity=len(shard.videos)))
    jobs = tuple(clip_job(extraction, shard, video, place=file.place(row)) for row, video in enumerate(shard.videos))
    tickets = tuple(pool.submit(extract_clip, job) for job in jobs)
    return ShardInWork(planned=shard, pending=file, jobs=jobs, tickets=tickets)


def clip_job(extraction: Extraction, shard: PlannedShard, video: Video, *, place: ClipPlace | None) -> ClipJob:
    """The job of one video. place: where its frames go, None for a trial."""
    return ClipJob(
        video=extraction.videos_folder / video.path,
        path=video.path,
        shape=extraction.plan.parameters.clip_shape,
        height=shard.height,
        width=shard.width,
        device=extraction.device,
        place=place,
        folder_fps=extraction.plan.parameters.folder_fps,
    )


def _collect(work: ShardInWork, extraction: Extraction, pool: WorkerPool, advance: Callable[[int], None]) -> Collected:
    """Wait for a shard's clips."""
    records: list[ClipRecord | None] = []
    quarantined: list[QuarantineRow] = []
    notes: list[NoteRow] = []
    decoders = DecoderCounts()
    for video, job, ticket in zip(work.planned.videos, work.jobs, work.tickets, strict=True):
        result = _result(pool, job, ticket)
        if isinstance(result, QuarantineRow):
            quarantined.append(result)
            records.append(None)
        else:
            num_kept = len(records) - len(quarantined)
            notes += notes_on(video.path, result)
            decoders += decoder_of(result)
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
    return Collected(records=tuple(records), quarantined=tuple(quarantined), notes=tuple(notes), decoders=decoders)


def decoder_of(clip: MeasuredClip) -> DecoderCounts:
    """The counts of this one clip."""
    on_cpu = clip.decoder == "cpu"
    return DecoderCounts(on_gpu=not on_cpu, on_cpu=on_cpu, gpu_error=clip.gpu_error)


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
    outcome = ShardOutcome(
        sha256=sha256_of(file), num_bytes=file.stat().st_size, quarantined=quarantined, notes=collected.notes
    )
    write_outcome(folder, work.planned, outcome)
    pending.publish()


def _result(
    pool: WorkerPool, job: ClipJob, ticket: Ticket[MeasuredClip | QuarantineRow]
) -> MeasuredClip | QuarantineRow:
    outcome = pool.wait(ticket)
    on_gpu = job.device != "cpu"
    if isinstance(outcome, WorkerDied) or (on_gpu and isinstance(outcome, WorkerOverran)):
        # Once may be the kernel short of memory, or the GPU's driver; twice is the video.
        again = pool.wait(pool.submit(extract_clip, dataclasses.replace(job, device="cpu")))
        gpu_error = _or_quarantine(outcome, job.path).error if on_gpu else ""
        outcome = dataclasses.replace(again, gpu_error=gpu_error) if isinstance(again, MeasuredClip) else again
    return _or_quarantine(outcome, job.path)


def _or_quarantine(outcome: Done | WorkerDied | WorkerOverran, path: str) -> Done | QuarantineRow:
    if isinstance(outcome, WorkerDied):
        error = f"the decoding process died with exit code {outcome.exit_code}"
        return QuarantineRow(path=path, stage="crash", error=error)
    if isinstance(outcome, WorkerOverran):
        error = f"decoding took more than {outcome.seconds:g} s (--timeout)"
        return QuarantineRow(path=path, stage="timeout", error=error)
    return outcome
