"""Exact decoding: every frame, in order, bit for bit what the ffmpeg command gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from media import HMDB_LIKE, REAL_VIDEOS, ffmpeg_frames, make_video, real_video_files

from shared.video.decoding import OpenVideo, VideoError, decode_clip, read_header
from shared.video.resizing import FrameSize, resize_frames
from shared.video.sampling import candidate_frames
from shared.video.shape import ClipShape

HMDB51_FRAME_COUNTS = {"brush_hair": 408, "climb": 242, "climb_stairs": 74, "punch": 172, "swing_baseball": 140}
MADE = {
    "dx50.avi": HMDB_LIKE,
    "xvid.avi": ("-c:v", "mpeg4", "-bf", "1", "-g", "12", "-vtag", "XVID"),
    "packed.avi": ("-c:v", "mpeg4", "-bf", "2", "-g", "300", "-bsf:v", "mpeg4_unpack_bframes"),
    "h264.avi": ("-c:v", "libx264", "-bf", "3"),
    "h264.mp4": ("-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p"),
    "h264.mkv": ("-c:v", "libx264", "-g", "7"),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-bf", "2"),
    "mpeg2.ts": ("-c:v", "mpeg2video", "-bf", "2"),
    "msmpeg4.wmv": ("-c:v", "msmpeg4v3",),
    "vp8.webm": ("-c:v", "libvpx"),
}  # fmt: skip


def native(*, frames_per_segment: int = 1) -> ClipShape:
    return ClipShape(num_segments=16, frames_per_segment=frames_per_segment, size=None)


def all_frames(path: Path) -> np.ndarray:
    return torch.stack(list(OpenVideo(path).read_frames())).numpy()


def assert_exact(path: Path) -> int:
    frames = all_frames(path)
    expected = ffmpeg_frames(path, height=frames.shape[1], width=frames.shape[2])
    assert len(frames) == len(expected)
    assert np.array_equal(frames, expected)
    for K in (1, 41):
        clip = decode_clip(path, native(frames_per_segment=K))
        index = candidate_frames(len(expected), num_segments=16, frames_per_segment=K)
        assert clip.num_frames == len(expected)
        assert clip.frame_index.tolist() == index.tolist()
        assert np.array_equal(clip.frames.numpy(), expected[index])
    return len(expected)


@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize("path", real_video_files() or [None], ids=lambda path: path.name[:32] if path else "absent")
def test_real_videos_equal_the_ffmpeg_command(path: Path | None) -> None:
    if path is None:
        pytest.skip(f"no real clips at {REAL_VIDEOS}")
    num_frames = assert_exact(path)
    if path.parents[1].name == "hmdb51":
        assert num_frames == HMDB51_FRAME_COUNTS[path.parent.name]
        assert read_header(path).num_frames == num_frames + 1  # the header's well-known lie


@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize("num_frames", [1, 2, 5, 15, 16, 17, 40])
def test_b_frames_of_every_length(tmp_path: Path, num_frames: int) -> None:
    assert assert_exact(make_video(tmp_path / "v.avi", *HMDB_LIKE, num_frames=num_frames)) == num_frames


@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize("name", MADE)
def test_containers_and_codecs(tmp_path: Path, name: str) -> None:
    assert assert_exact(make_video(tmp_path / name, *MADE[name])) >= 40


@pytest.mark.usefixtures("ffmpeg")
def test_one_pass_is_enough_where_the_header_is_nearly_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "v.avi", *HMDB_LIKE)
    opened: list[Path] = []
    original = OpenVideo.__init__

    def counting(self: OpenVideo, path: Path, *, device: str = "cpu") -> None:
        opened.append(path)
        original(self, path, device=device)

    monkeypatch.setattr(OpenVideo, "__init__", counting)
    decode_clip(path, native(frames_per_segment=3))
    assert len(opened) == 1


@pytest.mark.usefixtures("ffmpeg")
def test_large_pictures_take_two_passes_and_are_scaled_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "v.avi", *HMDB_LIKE)
    shape = ClipShape(num_segments=16, frames_per_segment=1, size=FrameSize(height=64, width=80))
    plain = decode_clip(path, shape)
    monkeypatch.setattr("shared.video.decoding._SPECULATION_BYTES", 1000)
    monkeypatch.setattr("shared.video.decoding._CHUNK_BYTES", 500_000)
    batches: list[int] = []

    def resize(frames: torch.Tensor, size: FrameSize | None) -> torch.Tensor:
        batches.append(len(frames))
        return resize_frames(frames, size)

    monkeypatch.setattr("shared.video.decoding.resize_frames", resize)
    chunked = decode_clip(path, shape)
    assert torch.equal(plain.frames, chunked.frames)
    assert max(batches) <= 3
    assert sum(batches) == 16


@pytest.mark.usefixtures("ffmpeg")
def test_files_that_are_no_videos(tmp_path: Path) -> None:
    text, empty, audio = tmp_path / "t.avi", tmp_path / "e.avi", tmp_path / "a.avi"
    text.write_text("not a video")
    empty.touch()
    make_audio(audio)
    cases = {text: "cannot|can open|Invalid", empty: "0 bytes", audio: "stream", tmp_path / "none.avi": "no such file"}
    for path, message in cases.items():
        with pytest.raises(VideoError, match=message) as caught:
            decode_clip(path, native())
        assert caught.value.stage == "open"
        assert ".cpp" not in str(caught.value)


def make_audio(path: Path) -> None:
    import subprocess

    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", str(path)]
    subprocess.run(command, check=True)


@pytest.mark.usefixtures("ffmpeg")
def test_names_that_look_like_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a:b.avi", "concat:x.avi", "-x.avi"):
        make_video(tmp_path / name, *HMDB_LIKE, num_frames=5)
        assert len(all_frames(Path(name))) == 5


@pytest.mark.usefixtures("ffmpeg")
def test_a_live_recording_without_duration(tmp_path: Path) -> None:
    assert assert_exact(make_video(tmp_path / "live.mkv", "-c:v", "libx264", "-bf", "2", "-live", "1")) == 40


@pytest.mark.usefixtures("ffmpeg")
def test_a_truncated_file_gives_the_frames_that_decode(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.avi", *HMDB_LIKE)
    half = tmp_path / "half.avi"
    data = whole.read_bytes()
    half.write_bytes(data[: len(data) // 2])
    num_frames = assert_exact(half)
    assert 5 < num_frames < 35
    assert read_header(half).num_frames >= 40


@pytest.mark.usefixtures("ffmpeg")
def test_short_videos_are_padded_with_their_last_frame(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.avi", *HMDB_LIKE, num_frames=5)
    clip = decode_clip(path, native(frames_per_segment=3))
    assert clip.num_padded == 11
    assert clip.frames.shape == (48, 240, 320, 3)
    assert torch.equal(clip.frames[12], clip.frames[47])


@pytest.mark.parametrize("form", ["relative", "absolute", "link"])
def test_errors_do_not_say_where_the_folder_lies(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "videos")
    (tmp_path / "videos" / "text.avi").write_text("not a video")
    monkeypatch.chdir(tmp_path)
    folder = {"relative": Path("videos"), "absolute": tmp_path / "videos", "link": Path("link")}[form]
    with pytest.raises(VideoError, match=r"input file: text\.avi Invalid data"):
        read_header(folder / "text.avi")
