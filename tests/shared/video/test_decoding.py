"""The clip of a video: the frames that the sampling asks for, exactly, in one reading or two; its rate and duration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from media import CASES, HMDB_LIKE, REAL_JHMDB, ffmpeg_frames, make_video

from shared.video.decoding import decode_clip, picture_size, rate_and_duration
from shared.video.resizing import FrameSize, resize_frames
from shared.video.sampling import candidate_frames
from shared.video.shape import ClipShape
from shared.video.streams import OpenVideo, VideoError

pytestmark = pytest.mark.usefixtures("ffmpeg", "reader")

SMALL = ClipShape(num_segments=16, frames_per_segment=1, size=FrameSize(height=64, width=80))


def native(*, frames_per_segment: int = 1) -> ClipShape:
    return ClipShape(num_segments=16, frames_per_segment=frames_per_segment, size=None)


def assert_exact(path: Path) -> None:
    height, width = picture_size(path)
    expected = ffmpeg_frames(path, height=height, width=width)
    for K in (1, 5):
        clip = decode_clip(path, native(frames_per_segment=K))
        index = candidate_frames(len(expected), num_segments=16, frames_per_segment=K)
        assert clip.num_frames == len(expected)
        assert clip.frame_index.tolist() == index.tolist()
        assert (clip.height, clip.width) == (height, width)
        assert np.array_equal(clip.frames.numpy(), expected[index])


@pytest.mark.parametrize("action", ["climb_stairs", "punch"])
def test_clips_of_hmdb51(real_videos: Path, action: str) -> None:
    (path,) = real_videos.glob(f"hmdb51/{action}/*.avi")
    assert_exact(path)
    clip = decode_clip(path, SMALL)
    assert clip.decode_errors == 0
    assert (clip.fps, clip.duration_seconds) == (30.0, clip.num_frames / 30.0)  # there are no presentation times


@pytest.mark.parametrize("num_frames", [1, 2, 15, 16, 17, 40])
def test_clips_of_every_length(tmp_path: Path, num_frames: int) -> None:
    assert_exact(make_video(tmp_path / "v.avi", *HMDB_LIKE, num_frames=num_frames, size="160x120"))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("live.mkv", ("-c:v", "libx264", "-live", "1")),
        ("raw.h264", ("-c:v", "libx264")),
        ("vp8.webm", ("-deadline", "realtime", "-cpu-used", "8")),
    ],
)
def test_headers_that_give_no_number_of_frames(tmp_path: Path, name: str, arguments: tuple[str, ...]) -> None:
    path = make_video(tmp_path / name, *arguments, "-pix_fmt", "yuv420p", size="160x120")
    assert OpenVideo(path).header.num_frames == -1
    assert_exact(path)


@pytest.mark.parametrize(("num_frames", "kept"), [(100, 1.0), (60, 0.5)])
def test_one_reading_is_enough_for_nearly_right_headers_and_for_short_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_frames: int, kept: float
) -> None:
    path = make_video(tmp_path / "v.avi", *HMDB_LIKE, num_frames=num_frames, size="160x120")
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    opened: list[Path] = []
    original = OpenVideo.__init__

    def counting(self: OpenVideo, path: Path, *, device: str = "cpu") -> None:
        opened.append(path)
        original(self, path, device=device)

    monkeypatch.setattr(OpenVideo, "__init__", counting)
    clip = decode_clip(path, native(frames_per_segment=3))
    assert len(opened) == 1
    assert (clip.num_frames == num_frames) == (kept == 1.0)


def test_large_pictures_take_two_readings_and_are_scaled_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "v.avi", *HMDB_LIKE)
    plain = decode_clip(path, SMALL)
    monkeypatch.setattr("shared.video.decoding._SPECULATION_BYTES", 1000)
    monkeypatch.setattr("shared.video.decoding._CHUNK_BYTES", 500_000)
    batches: list[int] = []

    def resize(frames: torch.Tensor, size: FrameSize | None) -> torch.Tensor:
        batches.append(len(frames))
        return resize_frames(frames, size)

    monkeypatch.setattr("shared.video.decoding.resize_frames", resize)
    chunked = decode_clip(path, SMALL)
    assert torch.equal(plain.frames, chunked.frames)
    assert batches == [2] * 8


def test_a_truncated_file_gives_the_frames_that_decode(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.avi", *HMDB_LIKE)
    half = tmp_path / "half.avi"
    data = whole.read_bytes()
    half.write_bytes(data[: len(data) // 2])
    assert_exact(half)
    clip = decode_clip(half, native())
    assert 5 < clip.num_frames < 35
    assert clip.header.num_frames >= 40


def test_short_videos_are_padded_with_their_last_frame(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.avi", *HMDB_LIKE, num_frames=5)
    clip = decode_clip(path, native(frames_per_segment=3))
    assert clip.num_padded == 11
    assert clip.frames.shape == (48, 240, 320, 3)
    assert torch.equal(clip.frames[12], clip.frames[47])


def test_a_video_without_a_frame_gives_no_clip(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.avi", "-c:v", "mjpeg", num_frames=3)
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"movi") + 4, data.index(b"idx1")
    for at in range(begin, end):
        data[at] = data[at] if data[at : at + 4] == b"00dc" else 0
    path.write_bytes(data)
    with pytest.raises(VideoError, match="no frame decodes"):
        decode_clip(path, native())


def test_a_picture_that_changes_its_size_is_fitted_but_not_stored_as_it_is(tmp_path: Path) -> None:
    options = ("-c:v", "mpeg2video", "-pix_fmt", "yuv420p")
    parts = [
        make_video(tmp_path / f"{size}.ts", *options, num_frames=20, size=size).read_bytes()
        for size in ("160x120", "96x80")
    ]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(parts))
    clip = decode_clip(path, SMALL)
    assert clip.frames.shape == (16, 64, 80, 3)
    assert (clip.height, clip.width) == (120, 160)
    with pytest.raises(VideoError, match=r"changes from \(120, 160\) to \(80, 96\)"):
        decode_clip(path, native())


@pytest.mark.parametrize(
    ("name", "num_frames", "size", "fps", "duration_seconds", "decode_errors"),
    [
        ("truncated.mp4", 17, (120, 160), 25.0, 17 / 25, 1),
        ("vfr.mp4", 13, (120, 160), 12 / 1.12, 1.16, 0),
        ("rawh264.mp4", 30, (241, 321), 25.0, 30 / 25, 0),
        ("cropbsf.mp4", 30, (44, 58), 25.0, 30 / 25, 0),
    ],
)
def test_cases_that_went_wrong(
    name: str, num_frames: int, size: tuple[int, int], fps: float, duration_seconds: float, decode_errors: int
) -> None:
    if not CASES.is_dir():
        pytest.skip(f"no cases at {CASES}")
    assert picture_size(CASES / name) == size
    clip = decode_clip(CASES / name, native())
    assert clip.frames.shape == (16, *size, 3)
    assert (clip.num_frames, clip.decode_errors) == (num_frames, decode_errors)
    assert (clip.fps, clip.duration_seconds) == (pytest.approx(fps), pytest.approx(duration_seconds))


def test_frames_left_out_lower_the_rate_and_not_the_duration() -> None:
    paths = sorted(REAL_JHMDB.glob("golf/*.avi"))[:1]
    if not paths:
        pytest.skip(f"no clips of J-HMDB at {REAL_JHMDB}")
    clip = decode_clip(paths[0], SMALL)  # 25 frames a second on 30 places, every sixth of which is empty
    assert clip.header.fps == 30.0
    assert clip.fps == pytest.approx(25, abs=0.5)
    assert clip.duration_seconds == pytest.approx(clip.num_frames / 25, abs=0.05)


@pytest.mark.parametrize(
    ("seconds", "last", "header_fps", "expected"),
    [
        ([0.0, 0.04, 0.08], 0.04, 25.0, (25.0, 3 / 25)),
        ([5.0, 5.033, 5.067], 0.033, 30.0, (30.0, 0.1)),  # times in milliseconds: the header is the finer
        ([0.0, 0.1, 0.4], 0.2, 25.0, (5.0, 0.6)),
        ([0.0, 0.1, 0.4], 0.0, 25.0, (5.0, 0.6)),  # the last frame counts as the others on average
        ([0.0, 0.5], 0.5, 0.0, (2.0, 1.0)),  # a header without a rate
        ([-1e15, -1e15], 0.04, 25.0, (25.0, 0.08)),  # no times
        ([0.0, 0.04, -1e15], 0.04, 25.0, (25.0, 0.12)),  # not of every frame
        ([0.0, 0.2, 0.1], 0.04, 25.0, (25.0, 0.12)),  # not in order
        ([3.0], 0.04, 25.0, (25.0, 0.04)),
        ([3.0], 0.04, 0.0, (0.0, 0.0)),
        ([0.0], 1 / 90_000, 90_000.0, (0.0, 0.0)),  # a picture on an audio file
    ],
)
def test_rate_and_duration(seconds: list[float], last: float, header_fps: float, expected: tuple[float, float]) -> None:
    assert rate_and_duration(seconds, last, header_fps=header_fps) == pytest.approx(expected)
