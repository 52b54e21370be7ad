"""Which device decodes: the one asked for, or the one that a trial shows to be faster."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from preprocess.extract.clips import ClipJob, MeasuredClip, extract_clip
from preprocess.extract.decoders import DecoderCounts
from preprocess.extract.extraction_plan import Extraction
from preprocess.extract.shards import clip_job, decoder_of, decoding_pool
from shared.errors import DataError
from shared.terminal.console import say

_NUM_TRIAL_VIDEOS = 16


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of decoding a few videos."""

    counts: DecoderCounts
    seconds: float

    @property
    def rate(self) -> float:
        """Clips a second."""
        return self.counts.num_clips / self.seconds


def choose_extraction(extraction: Extraction, *, most_on_gpu: int) -> Extraction:
    """The extraction on the device that it asks for, with at most ``most_on_gpu`` workers there if it is the GPU.

    For device ``auto`` a few of the videos are decoded on both, and the faster one is taken. Raises DataError where
    cuda is asked for and there is none.
    """
    if extraction.device == "cpu":
        return extraction
    on_cpu = dataclasses.replace(extraction, device="cpu")
    on_gpu = dataclasses.replace(extraction, device="cuda", num_workers=min(extraction.num_workers, most_on_gpu))
    if extraction.device == "cuda":
        require_gpu()
        return on_gpu
    if not torch.cuda.is_available():
        say("--device auto: no CUDA GPU is to be seen, decoding on the CPU")
        return on_cpu
    return _faster(on_cpu, on_gpu)


def require_gpu() -> None:
    """Raise DataError where torch sees no GPU."""
    if not torch.cuda.is_available():
        raise DataError("--device cuda: no CUDA GPU is to be seen; see `hmdb-prep doctor`, or use --device cpu")


def _faster(on_cpu: Extraction, on_gpu: Extraction) -> Extraction:
    """The faster one. A GPU that decodes nothing is not taken: what is measured there is the CPU."""
    cpu, gpu = try_out(on_cpu), try_out(on_gpu)
    chosen = on_gpu if gpu.counts.on_gpu and gpu.rate > cpu.rate else on_cpu
    say(
        f"--device auto: {cpu.rate:.1f} clips/s on the CPU, {gpu.rate:.1f} with the GPU, which decoded "
        f"{gpu.counts.on_gpu} of {gpu.counts.num_clips}{gpu.counts.reason}: {chosen.device}"
    )
    return chosen


def try_out(extraction: Extraction) -> Trial:
    """Decode and measure a few of the planned videos, once to warm up and once timed. Nothing is written."""
    jobs = list(islice(_jobs(extraction), _NUM_TRIAL_VIDEOS))
    with decoding_pool(num_workers=extraction.num_workers, timeout_seconds=extraction.timeout_seconds) as pool:
        for _ in range(2):
            started = time.monotonic()
            tickets = [pool.submit(extract_clip, job) for job in jobs]
            clips = [clip for ticket in tickets if isinstance(clip := pool.wait(ticket), MeasuredClip)]
            seconds = time.monotonic() - started
    return Trial(counts=sum(map(decoder_of, clips), start=DecoderCounts()), seconds=max(seconds, 1e-9))


def _jobs(extraction: Extraction) -> Iterator[ClipJob]:
    for shard in extraction.plan.shards:
        for video in shard.videos:
            yield clip_job(extraction, shard, video, place=None)
