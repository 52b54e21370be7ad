"""GPUs of several kinds, none of which is there, for jobs of ``hmdb-prep extract`` in processes of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from unittest.mock import patch

import torch

from preprocess.extract.clips import ClipJob, MeasuredClip, extract_clip
from preprocess.extract.statistics import ClipStatistics, measure_clip
from shared.manifests.files import QuarantineRow
from shared.video.decoding import DecodedClip, decode_clip
from shared.video.shape import ClipShape


def decode_mp4_only(path: Path, shape: ClipShape, *, device: str, folder_fps: float) -> DecodedClip:
    """A GPU that knows the codec of MP4 files alone."""
    if device == "cpu" or path.suffix == ".mp4":
        clip = decode_clip(path, shape, folder_fps=folder_fps)
        return DecodedClip(**vars(clip) | {"decoder": device})
    raise RuntimeError("NVDEC does not know this codec\nof AVI files")


def extract_mp4_on_gpu(job: ClipJob) -> MeasuredClip | QuarantineRow:
    """``extract_clip`` beside that GPU."""
    with patch("preprocess.extract.clips.decode_clip", decode_mp4_only):
        return extract_clip(job)


def extract_and_die_on_gpu(job: ClipJob) -> MeasuredClip | QuarantineRow:
    """``extract_clip`` beside a GPU whose driver crashes."""
    if job.device != "cpu":
        os.kill(os.getpid(), signal.SIGKILL)
    return extract_clip(job)


def extract_and_hang_on_gpu(job: ClipJob) -> MeasuredClip | QuarantineRow:
    """``extract_clip`` beside a GPU that never answers."""
    if job.device != "cpu":
        signal.pause()
    return extract_clip(job)


def extract_on_small_gpu(job: ClipJob) -> MeasuredClip | QuarantineRow:
    """``extract_clip`` beside a GPU that decodes a clip and has no memory left to measure it."""
    measured: list[bool] = []

    def measure_the_second_time(frames: torch.Tensor) -> ClipStatistics:
        measured.append(True)
        if job.device != "cpu" and len(measured) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")
        return measure_clip(frames)

    with (
        patch("preprocess.extract.clips.decode_clip", lambda path, shape, device, folder_fps: decode_clip(path, shape)),
        patch("preprocess.extract.clips.measure_clip", measure_the_second_time),
    ):
        return extract_clip(job)
