"""Frame folders: the pixels of every kind of picture, the same clip as from the video, and what cannot be read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from media import HMDB_LIKE, dump_frames, ffmpeg_frames, make_video
from PIL import Image

from shared.video.decoding import decode_clip, picture_size
from shared.video.frame_folders import OpenFrameFolder, read_picture
from shared.video.resizing import FrameSize
from shared.video.shape import ClipShape
from shared.video.streams import VideoError

NATIVE = ClipShape(num_segments=16, frames_per_segment=3, size=None)
SMALL = ClipShape(num_segments=4, frames_per_segment=1, size=FrameSize(height=24, width=32))
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREYS = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def save_frames(folder: Path, count: int, *, size: tuple[int, int] = (32, 24), start: int = 1) -> Path:
    """Plain pictures of their own colour each, ``1.png``, ``2.png``, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        Image.new("RGB", size, (number, 2 * number, 0)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("num_frames", [1, 9, 70])
def test_png_dumps_give_the_clip_of_the_video(ffmpeg: str, tmp_path: Path, num_frames: int) -> None:
    video = make_video(tmp_path / "v.avi", *HMDB_LIKE, num_frames=num_frames, size="64x48")
    clip, dumped = decode_clip(video, NATIVE), decode_clip(dump_frames(video, tmp_path / "v"), NATIVE, folder_fps=30)
    assert torch.equal(dumped.frames, clip.frames)
    assert np.array_equal(dumped.frame_index, clip.frame_index)
    assert np.array_equal(dumped.frames.numpy(), ffmpeg_frames(video, height=48, width=64)[dumped.frame_index])
    assert (dumped.num_frames, dumped.num_padded, dumped.decode_errors) == (num_frames, max(0, 16 - num_frames), 0)
    assert (dumped.header.codec, dumped.header.num_frames, dumped.decoder) == ("frames", num_frames, "cpu")
    assert (dumped.fps, dumped.duration_seconds) == (30, pytest.approx(num_frames / 30))
    assert dumped.notes == ()


def test_png_dumps_of_real_clips_give_their_clips(real_videos: Path, tmp_path: Path) -> None:
    for video in sorted((real_videos / "hmdb51").rglob("*.avi"))[:2]:
        dumped = decode_clip(dump_frames(video, tmp_path / video.stem), NATIVE)
        assert torch.equal(dumped.frames, decode_clip(video, NATIVE).frames)
        assert (dumped.fps, dumped.duration_seconds) == (0, 0)


def _grey16(path: Path) -> None:
    Image.fromarray(GREYS.astype(np.uint16) * 256 + 99).save(path)


def _colour16(path: Path) -> None:
    values = ((COLOURS.astype(np.uint16) << 8) + 200).astype(">u2")
    path.with_suffix(".ppm").write_bytes(b"P6 7 5 65535\n" + values.tobytes())
    subprocess.run(["ffmpeg", "-v", "error", "-i", path.with_suffix(".ppm"), path], check=True)  # a PNG of 16 bits


def _alpha(path: Path) -> None:
    Image.fromarray(np.dstack([COLOURS, GREYS])).save(path)


def _palette(path: Path) -> None:
    picture = Image.fromarray(GREYS)
    picture.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
    picture.save(path)


def _turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(COLOURS).save(path, exif=exif)


GREY_AS_RGB = np.repeat(GREYS[:, :, None], 3, axis=2)


@pytest.mark.parametrize(
    ("save", "expected"),
    [
        (lambda path: Image.fromarray(COLOURS).save(path), COLOURS),
        (lambda path: Image.fromarray(GREYS).save(path), GREY_AS_RGB),
        (_grey16, GREY_AS_RGB),
        (_colour16, COLOURS),
        (_alpha, COLOURS),
        (_palette, GREY_AS_RGB),
        (_turned, np.rot90(COLOURS, -1)),
    ],
    ids=["rgb", "grey", "grey16", "rgb16", "alpha", "palette", "exif"],
)
def test_every_kind_of_png_becomes_rgb_of_8_bits(
    ffmpeg: str, tmp_path: Path, save: Callable[[Path], None], expected: np.ndarray
) -> None:
    save(tmp_path / "1.png")
    picture = read_picture(tmp_path / "1.png")
    assert picture.dtype == np.uint8 and picture.flags.writeable
    assert np.array_equal(picture, expected)


def test_cmyk_and_turned_jpegs(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "1.jpg")  # red ink: no cyan
    red, green, blue = read_picture(tmp_path / "1.jpg")[4, 4]
    assert red > 250 and green < 5 and blue < 5
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (16, 8)).save(tmp_path / "2.jpg", exif=exif)
    assert read_picture(tmp_path / "2.jpg").shape == (16, 8, 3)


def test_unreadable_pictures_cost_themselves_alone(tmp_path: Path) -> None:
    folder = save_frames(tmp_path / "clip", 20)
    whole = (folder / "5.png").read_bytes()
    (folder / "5.png").write_bytes(whole[: len(whole) // 2])
    (folder / "9.png").write_bytes(b"")
    (folder / "1.png").write_text("no picture")
    clip = decode_clip(folder, SMALL)
    assert (clip.num_frames, clip.decode_errors, clip.header.num_frames) == (17, 3, 20)
    readable = [number for number in range(1, 21) if number not in (1, 5, 9)]
    assert clip.frames[:, 0, 0, 0].tolist() == [readable[frame] for frame in clip.frame_index]
    assert clip.notes == ("3 pictures could not be read, 1.png: cannot identify image file '1.png' first",)


def test_gaps_and_several_sizes_are_noted(tmp_path: Path) -> None:
    folder = save_frames(tmp_path / "clip", 5)
    save_frames(folder, 3, start=8, size=(64, 40))
    clip = decode_clip(folder, SMALL)
    assert clip.num_frames == 8 and clip.frames.shape == (4, 24, 32, 3)
    assert clip.notes == (
        "2 numbers missing between its pictures 1.png and 10.png, 6 first; the others follow each other",
        "its pictures are of 2 sizes (5 of 32x24, 3 of 64x40 pixels); each is fitted by itself",
    )
    with pytest.raises(VideoError, match="changes from"):
        decode_clip(folder, NATIVE)


def test_a_video_of_many_large_pictures_is_read_twice_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_frames(tmp_path / "clip", 40)
    once = decode_clip(folder, SMALL)
    monkeypatch.setattr("shared.video.decoding._SPECULATION_BYTES", 1)
    assert torch.equal(decode_clip(folder, SMALL).frames, once.frames)


def test_folders_that_are_no_video_say_why(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.jpg").write_text("no picture")
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "1.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    save_frames(tmp_path / "two", 2)
    (tmp_path / "two" / "01.png").write_bytes((tmp_path / "two" / "1.png").read_bytes())
    for name, stage, message in [
        ("empty", "open", "no numbered pictures"),
        ("broken", "decode", "none of its 1 pictures can be read: 1.jpg: cannot identify"),
        ("script", "decode", "cannot identify image file '1.png'"),  # and no program is started for it
        ("two", "open", "same number"),
    ]:
        with pytest.raises(VideoError, match=message) as caught:
            decode_clip(tmp_path / name, SMALL)
        assert caught.value.stage == stage


def test_only_wanted_frames_have_pictures_and_the_first_gives_the_size(tmp_path: Path) -> None:
    folder = save_frames(tmp_path / "clip", 12)
    frames = list(OpenFrameFolder(folder).read_frames(wanted={1, 10}))
    assert [number for number, frame in enumerate(frames) if frame.picture is not None] == [1, 10]
    assert frames[10].picture is not None and frames[10].picture[0, 0].tolist() == [11, 22, 0]
    assert picture_size(folder) == (24, 32)


def test_pictures_are_read_on_the_cpu_whatever_the_device(tmp_path: Path) -> None:
    assert decode_clip(save_frames(tmp_path / "clip", 3), SMALL, device="cuda").decoder == "cpu"
