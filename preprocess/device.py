"""Where to decode: on the CPU, on the GPU, or on whichever of them is measured to be faster with this data."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from preprocess.clip_worker import ClipJob, extract_clip
from preprocess.extract_blocks import decoding_pool
from preprocess.plan import ExtractionPlan
from shared.console import say
from shared.errors import DataError

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
