"""Worker processes for decoding: each job in one of them; those that die or overrun their time are replaced."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from pebble import ProcessExpired, ProcessPool

from preprocess.clip_worker import ClipJob, MeasuredClip, extract_clip, probe_size, start_worker
from shared.classes import Video
from shared.manifests import QuarantineRow

ClipFuture = Future[MeasuredClip | QuarantineRow]


class WorkerPool:
    """A pool of decoding processes. Use as a context manager: leaving it ends them, whatever they do."""

    def __init__(self, *, num_workers: int, timeout_seconds: float) -> None:
        # Workers are forked from a server that has imported everything but run nothing: threads and CUDA make a plain
        # fork unsafe, and a fresh interpreter for each replaced worker would cost seconds.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["preprocess.clip_worker", "torchcodec.decoders"])
        self._pool = ProcessPool(max_workers=num_workers, initializer=start_worker, context=context)
        self._timeout_seconds = timeout_seconds

    def submit(self, job: ClipJob) -> ClipFuture:
        """Give a job to the next free worker."""
        future: ClipFuture = self._pool.schedule(extract_clip, args=[job], timeout=self._timeout_seconds)
        return future

    def outcome(self, job: ClipJob, future: ClipFuture) -> MeasuredClip | QuarantineRow:
        """Wait for a job. A hang is a quarantine row; a crash too, if it happens again on a second try."""
        try:
            return future.result()
        except TimeoutError:
            return self._overran(job.path)
        except ProcessExpired:
            # Once may be the kernel short of memory; twice is the video.
            return self._second_try(job)

    def _second_try(self, job: ClipJob) -> MeasuredClip | QuarantineRow:
        try:
            return self.submit(job).result()
        except TimeoutError:
            return self._overran(job.path)
        except ProcessExpired as death:
            return _died(job.path, death)

    def probe_sizes(self, videos_folder: Path, videos: Sequence[Video]) -> Iterator[tuple[int, int] | QuarantineRow]:
        """(height, width) of each video from its header, in order, or why there is none."""
        futures = [
            self._pool.schedule(
                probe_size, args=[videos_folder / video.path, video.path], timeout=self._timeout_seconds
            )
            for video in videos
        ]
        for video, future in zip(videos, futures, strict=True):
            try:
                yield future.result()
            except TimeoutError:
                yield self._overran(video.path)
            except ProcessExpired as death:
                yield _died(video.path, death)

    def _overran(self, path: str) -> QuarantineRow:
        error = f"decoding took more than {self._timeout_seconds:g} s (--timeout)"
        return QuarantineRow(path=path, stage="timeout", error=error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()


def _died(path: str, death: ProcessExpired) -> QuarantineRow:
    return QuarantineRow(path=path, stage="crash", error=f"the decoding process died with exit code {death.exitcode}")
