"""Every frame of a video, in order, bit for bit what the ffmpeg command gives; damaged and odd files too."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from media import CASES, HMDB_LIKE, REAL_JHMDB, REAL_VIDEOS, ffmpeg_frames, make_video, real_video_files, turn
from torchcodec import decoders

from shared.video import streams
from shared.video.streams import FrameReader, OpenVideo, PacketReader, VideoError, open_reader

pytestmark = pytest.mark.usefixtures("ffmpeg", "reader")

HMDB51_FRAME_COUNTS = {"brush_hair": 408, "climb": 242, "climb_stairs": 74, "punch": 172, "swing_baseball": 140}
YUV420 = ("-pix_fmt", "yuv420p")
MADE = {
    "dx50.avi": HMDB_LIKE,
    "xvid.avi": ("-c:v", "mpeg4", "-bf", "1", "-g", "12", "-vtag", "XVID"),
    "packed.avi": ("-c:v", "mpeg4", "-bf", "2", "-g", "300", "-bsf:v", "mpeg4_unpack_bframes"),
    "mjpeg.avi": ("-c:v", "mjpeg"),
    "h264.avi": ("-c:v", "libx264", "-bf", "3"),
    "h264.mp4": ("-c:v", "libx264", "-bf", "3", *YUV420),
    "fragments.mp4": ("-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov", *YUV420),
    "interlaced.mp4": ("-c:v", "libx264", "-flags", "+ilme+ildct", "-x264opts", "interlaced=1", *YUV420),
    "ten_bits.mkv": ("-c:v", "libx264", "-pix_fmt", "yuv420p10le"),
    "rgb.mkv": ("-c:v", "libx264rgb"),
    "odd.mp4": ("-c:v", "libx264", "-pix_fmt", "yuv444p", "-s", "161x121"),
    "h264.mkv": ("-c:v", "libx264", "-g", "7"),
    "live.mkv": ("-c:v", "libx264", "-bf", "2", "-live", "1"),
    "h264.ts": ("-c:v", "libx264", "-g", "12", *YUV420),
    "raw.h264": ("-c:v", "libx264", "-bf", "2", *YUV420),
    "raw.m4v": ("-c:v", "mpeg4", "-bf", "2", "-f", "m4v"),
    "mpeg1.mpg": ("-c:v", "mpeg1video", "-bf", "2"),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-bf", "2"),
    "mpeg2.ts": ("-c:v", "mpeg2video", "-bf", "2"),
    "msmpeg4.wmv": ("-c:v", "msmpeg4v3"),
    "wmv2.wmv": ("-c:v", "wmv2"),
    "vp8.webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
    "picture.gif": (),
    "sorenson.flv": ("-c:v", "flv"),
    "h263.3gp": ("-c:v", "h263", "-s", "176x144"),
    "theora.ogv": ("-c:v", "libtheora"),
}  # fmt: skip


def all_frames(path: Path) -> np.ndarray:
    pictures = [frame.picture for frame in OpenVideo(path).read_frames()]
    assert all(picture is not None for picture in pictures)
    return torch.stack([picture for picture in pictures if picture is not None]).numpy()


def assert_exact(path: Path) -> int:
    frames = all_frames(path)
    expected = ffmpeg_frames(path, height=frames.shape[1], width=frames.shape[2])
    assert len(frames) == len(expected)
    assert np.array_equal(frames, expected)
    return len(expected)


@pytest.mark.parametrize("path", real_video_files() or [None], ids=lambda path: path.name[:32] if path else "absent")
def test_real_videos_equal_the_ffmpeg_command(path: Path | None) -> None:
    if path is None:
        pytest.skip(f"no real clips at {REAL_VIDEOS}")
    num_frames = assert_exact(path)
    if path.parents[1].name == "hmdb51":
        assert num_frames == HMDB51_FRAME_COUNTS[path.parent.name]
        assert OpenVideo(path).header.num_frames == num_frames + 1  # the header's well-known lie


@pytest.mark.parametrize("every", [60, pytest.param(1, marks=pytest.mark.slow)])
def test_jhmdb_equals_the_ffmpeg_command(every: int) -> None:
    paths = sorted(REAL_JHMDB.glob("*/*.avi"))[::every]
    if not paths:
        pytest.skip(f"no clips of J-HMDB at {REAL_JHMDB}")
    assert sum(assert_exact(path) for path in paths) >= 15 * len(paths)


@pytest.mark.parametrize("num_frames", [1, 2, 5, 15, 16, 17, 40])
def test_b_frames_of_every_length(tmp_path: Path, num_frames: int) -> None:
    assert assert_exact(make_video(tmp_path / "v.avi", *HMDB_LIKE, num_frames=num_frames)) == num_frames


Maker = Callable[[str, tuple[str, ...]], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Encodes a small video by name and arguments, once for all tests."""
    folder = tmp_path_factory.mktemp("made")

    def make(name: str, arguments: tuple[str, ...]) -> Path:
        path = folder / name
        return path if path.exists() else make_video(path, *arguments, size="160x120")

    return make


@pytest.mark.parametrize("name", MADE)
def test_containers_and_codecs(made: Maker, name: str) -> None:
    assert assert_exact(made(name, MADE[name])) >= 40


def flip(data: bytearray, place: int, draw: random.Random) -> None:
    for at in range(place, place + 4):
        data[at] ^= draw.randrange(1, 256)


def erase(data: bytearray, place: int, draw: random.Random) -> None:
    width = len(data) // 40
    data[place : place + width] = bytes(width)


def remove(data: bytearray, place: int, draw: random.Random) -> None:
    del data[place : place + len(data) // 50]


def cut(data: bytearray, place: int, draw: random.Random) -> None:
    del data[place:]


DAMAGES: dict[str, tuple[Callable[[bytearray, int, random.Random], None], tuple[float, ...]]] = {
    "flipped at the start": (flip, (0.1,)),
    "flipped everywhere": (flip, (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)),
    "erased in the middle": (erase, (0.5,)),
    "erased in three places": (erase, (0.2, 0.5, 0.8)),
    "without two pieces": (remove, (0.4, 0.6)),
    "cut in the middle": (cut, (0.5,)),
    "cut at the end": (cut, (0.97,)),
}
# The index of these MP4s stands at the front, so that cutting leaves frames.
DAMAGED = {
    "dx50.avi": HMDB_LIKE,
    "h264.mp4": ("-c:v", "libx264", "-bf", "3", "-g", "12", "-movflags", "+faststart", *YUV420),
    "h264.mkv": ("-c:v", "libx264", "-g", "12", *YUV420),
    "h264.ts": ("-c:v", "libx264", "-g", "12", *YUV420),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-bf", "2"),
    "mjpeg.avi": ("-c:v", "mjpeg"),
    "vp8.webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"),
    "wmv2.wmv": ("-c:v", "wmv2"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_videos_lose_the_frames_that_the_ffmpeg_command_loses(
    tmp_path: Path, made: Maker, name: str, damage: str
) -> None:
    data = bytearray(made(f"whole_{name}", DAMAGED[name]).read_bytes())
    do, places = DAMAGES[damage]
    for place in places:
        do(data, int(place * len(data)), random.Random(f"{name} {damage} {place}"))
    damaged = tmp_path / name
    damaged.write_bytes(data)
    assert 1 <= assert_exact(damaged) <= 41


def case(name: str) -> Path:
    if not CASES.is_dir():
        pytest.skip(f"no cases at {CASES}")
    return CASES / name


def test_a_packet_that_does_not_decode_is_counted() -> None:
    video = OpenVideo(case("truncated.mp4"))
    assert video.decode_errors == 0
    assert len(list(video.read_frames())) == 17
    assert video.decode_errors == 1
    assert assert_exact(case("truncated.mp4")) == 17


@pytest.mark.parametrize("name", ["rawh264.mp4", "cropbsf.mp4"])
def test_raw_streams_and_pictures_of_another_size_than_the_header_says(name: str) -> None:
    assert assert_exact(case(name)) == 30


def test_only_the_pictures_wanted_are_converted(tmp_path: Path, reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "v.avi", *HMDB_LIKE, num_frames=20)
    expected = all_frames(path)
    converted: list[object] = []
    if reader == "blocks":
        original = decoders.ColorConverter.convert
        monkeypatch.setattr(
            decoders.ColorConverter, "convert", lambda self, raw: (converted.append(None), original(self, raw))[1]
        )
    frames = list(OpenVideo(path).read_frames(wanted={3, 11}))
    assert len(frames) == 20
    assert [number for number, frame in enumerate(frames) if frame.picture is not None] == [3, 11]
    assert np.array_equal(frames[3].picture, expected[3])
    assert np.array_equal(frames[11].picture, expected[11])
    assert len(converted) == (2 if reader == "blocks" else 0)


def test_times_of_frames(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", "-c:v", "libx264", "-bf", "2", *YUV420, num_frames=9, rate="25")
    frames = list(OpenVideo(path).read_frames())
    assert [frame.seconds for frame in frames] == pytest.approx([number / 25 for number in range(9)])
    assert [frame.duration_seconds for frame in frames] == pytest.approx([1 / 25] * 9)
    raw = make_video(tmp_path / "v.h264", "-c:v", "libx264", *YUV420, num_frames=3)
    assert all(frame.seconds < -1e9 for frame in OpenVideo(raw).read_frames())


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_quarter_turns_are_made(tmp_path: Path, degrees: int) -> None:
    plain = make_video(tmp_path / "plain.mp4", "-c:v", "libx264", *YUV420, num_frames=5, size="160x120")
    turned = turn(plain, degrees)
    assert assert_exact(turned) == 5
    assert not np.array_equal(all_frames(turned).ravel(), all_frames(plain).ravel())


def test_other_turns_are_made_to_the_nearest_quarter(tmp_path: Path) -> None:
    plain = make_video(tmp_path / "plain.mp4", "-c:v", "libx264", *YUV420, num_frames=5, size="160x120")
    assert np.array_equal(all_frames(turn(plain, 10)), all_frames(plain))
    assert np.array_equal(all_frames(turn(plain, 80)), all_frames(turn(plain, 90)))


def test_pixels_that_are_not_square_are_said_and_left(tmp_path: Path) -> None:
    wide = make_video(tmp_path / "wide.avi", "-c:v", "mpeg4", "-vf", "setsar=12/11", num_frames=5)
    assert assert_exact(wide) == 5
    assert OpenVideo(wide).header.sample_aspect_ratio == pytest.approx(12 / 11)
    assert OpenVideo(make_video(tmp_path / "v.avi", *HMDB_LIKE, num_frames=2)).header.sample_aspect_ratio == 1.0


@pytest.mark.parametrize(("degrees", "ratio"), [(0, 4 / 3), (90, 3 / 4), (180, 4 / 3), (270, 3 / 4), (80, 3 / 4)])
def test_the_shape_of_pixels_turns_with_the_picture(tmp_path: Path, degrees: int, ratio: float) -> None:
    options = ("-c:v", "libx264", *YUV420, "-vf", "setsar=4/3")
    wide = make_video(tmp_path / "wide.mp4", *options, num_frames=2, size="160x120")
    assert OpenVideo(turn(wide, degrees)).header.sample_aspect_ratio == pytest.approx(ratio)


@pytest.mark.parametrize(("degrees", "left"), [(0, 0), (90, 0), (180, 0), (270, 0), (10, 10), (80, 10), (300, 30)])
def test_what_the_nearest_quarter_turn_leaves(tmp_path: Path, degrees: int, left: float) -> None:
    plain = make_video(tmp_path / "plain.mp4", "-c:v", "libx264", *YUV420, num_frames=2, size="160x120")
    assert abs(OpenVideo(turn(plain, degrees)).header.turn_left_out) == pytest.approx(left, abs=0.01)


def ffmpeg_writes(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    text, empty, audio = tmp_path / "t.avi", tmp_path / "e.avi", tmp_path / "a.avi"
    text.write_text("not a video")
    empty.touch()
    ffmpeg_writes("-f", "lavfi", "-i", "sine=duration=1", audio)
    cases = {
        text: "cannot|can open|Invalid",
        empty: "0 bytes",
        audio: "open: it has no video stream$",
        tmp_path / "none.avi": "no such file",
    }
    for path, message in cases.items():
        with pytest.raises(VideoError, match=message) as caught:
            OpenVideo(path)
        assert caught.value.stage == "open"
        assert ".cpp" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_cover_picture_is_a_video_of_one_frame_and_no_rival_of_a_video(tmp_path: Path) -> None:
    sound, cover = tmp_path / "sound.mp3", make_video(tmp_path / "cover.png", "-update", "1", num_frames=1)
    ffmpeg_writes("-f", "lavfi", "-i", "sine=duration=1", sound)
    song = tmp_path / "song.mp3"
    ffmpeg_writes("-i", sound, "-i", cover, "-map", "0", "-map", "1", "-c", "copy", song)
    assert assert_exact(song) == 1
    video = make_video(tmp_path / "v.mp4", "-c:v", "libx264", *YUV420, num_frames=7, size="160x120")
    both = tmp_path / "both.mp4"
    options = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic")
    ffmpeg_writes("-i", cover, "-i", video, *options, both)
    assert assert_exact(both) == 7


def test_names_that_look_like_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a:b.avi", "concat:x.avi", "-x.avi"):
        make_video(tmp_path / name, *HMDB_LIKE, num_frames=5)
        assert len(all_frames(Path(name))) == 5


@pytest.mark.parametrize("form", ["relative", "absolute", "link"])
def test_errors_do_not_say_where_the_folder_lies(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "videos")
    (tmp_path / "videos" / "text.avi").write_text("not a video")
    monkeypatch.chdir(tmp_path)
    folder = {"relative": Path("videos"), "absolute": tmp_path / "videos", "link": Path("link")}[form]
    with pytest.raises(VideoError, match=r"input file: text\.avi Invalid data"):
        OpenVideo(folder / "text.avi")


def test_reading_that_fails_for_ever_ends(tmp_path: Path, reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reader == "blocks":
        pytest.skip("the blocks tell a packet that does not decode from a file that cannot be read")
    video = OpenVideo(make_video(tmp_path / "v.avi", *HMDB_LIKE, num_frames=5))

    def fail(decoder: torch.Tensor) -> None:
        raise RuntimeError("Could not read frame from input file: Input/output error")

    monkeypatch.setattr("torchcodec._core.get_next_frame", fail)
    assert list(video.read_frames()) == []
    assert video.decode_errors == streams._MOST_ERRORS_IN_A_ROW


def test_a_file_that_grows_shorter_while_it_is_read_ends(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.avi", "-c:v", "huffyuv", num_frames=30)
    whole = len(all_frames(path))
    frames = OpenVideo(path).read_frames(wanted=())
    next(frames)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    assert 1 < 1 + len(list(frames)) <= whole  # all, where the packets were read ahead


def test_the_public_blocks_are_used_where_there_are_any(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.avi", *HMDB_LIKE, num_frames=2)
    kind = PacketReader if hasattr(decoders, "Demuxer") else FrameReader
    assert isinstance(open_reader(path, device="cpu"), kind)
