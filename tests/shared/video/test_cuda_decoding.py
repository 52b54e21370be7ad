"""Decoding on a GPU against the CPU: never another frame, at most rounding; and the fall-back, tested anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import succeed
from media import HMDB_LIKE, make_video

from preprocess.extract import clips as clip_worker
from preprocess.extract.clips import ClipJob, MeasuredClip, extract_clip
from shared.manifests.files import QuarantineRow, read_manifests
from shared.shards.reader import ShardReader
from shared.video.decoding import DecodedClip, decode_clip
from shared.video.resizing import FrameSize
from shared.video.shape import ClipShape
from shared.video.streams import VideoError

ROUNDING = 3  # grey levels; the colour conversions of NVDEC and swscale differ in the last digits


def job(video: Path, *, device: str) -> ClipJob:
    return ClipJob(
        video=video,
        path=video.name,
        shape=ClipShape(num_segments=16, frames_per_segment=1, size=FrameSize(height=56, width=76)),
        height=56,
        width=76,
        device=device,
        place=None,
    )


def test_what_the_gpu_cannot_decode_the_cpu_does(tmp_path: Path, ffmpeg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    video = make_video(tmp_path / "v.avi", *HMDB_LIKE)
    tried: list[str] = []

    def decode(path: Path, shape: ClipShape, *, device: str, folder_fps: float) -> DecodedClip:
        tried.append(device)
        if device != "cpu":
            raise RuntimeError("NVDEC does not know this codec")
        return decode_clip(path, shape)

    monkeypatch.setattr(clip_worker, "decode_clip", decode)
    clip = extract_clip(job(video, device="cuda"))
    assert isinstance(clip, MeasuredClip)
    assert tried == ["cuda", "cpu"]
    assert clip.decoder == "cpu"


def test_what_neither_decodes_is_quarantined_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, shape: ClipShape, *, device: str, folder_fps: float) -> DecodedClip:
        raise VideoError("decode", "no frame decodes")

    monkeypatch.setattr(clip_worker, "decode_clip", fail)
    row = extract_clip(job(tmp_path / "v.avi", device="cuda"))
    assert row == QuarantineRow(path="v.avi", stage="decode", error="no frame decodes")


@pytest.mark.cuda
def test_the_gpu_gives_the_same_frames(tmp_path: Path, ffmpeg: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    videos = tmp_path / "videos"
    make_video(videos / "walk" / "mpeg4.avi", *HMDB_LIKE)
    make_video(videos / "walk" / "h264.mp4", "-c:v", "libx264", "-bf", "2", "-pix_fmt", "yuv420p", num_frames=77)
    make_video(videos / "run" / "short.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", num_frames=7)
    found = {}
    for device in ("cpu", "cuda"):
        places = ("--shards", tmp_path / device / "shards", "--manifests", tmp_path / device / "manifests")
        succeed("hmdb-prep", "extract", "--videos", videos, *places, "--device", device, "--workers", "1")
        frame = read_manifests(tmp_path / device / "manifests")
        with ShardReader(tmp_path / device / "shards" / "shard-00000.h5") as reader:
            found[device] = frame, np.array(reader.frames), reader.frame_index
    assert found["cpu"][0]["num_frames"].tolist() == found["cuda"][0]["num_frames"].tolist()
    assert np.array_equal(found["cpu"][2], found["cuda"][2])
    difference = np.abs(found["cpu"][1].astype(int) - found["cuda"][1])
    assert difference.mean() < ROUNDING
    assert set(found["cuda"][0]["decoder"]) <= {"cpu", "cuda"}
    assert "cuda" in set(found["cuda"][0]["decoder"])
