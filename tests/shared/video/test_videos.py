"""The videos of a folder, and what is left out there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.errors import DataError
from shared.manifests.left_out import LeftOut, left_out_line, write_left_out
from shared.video.frame_names import PICTURE_SUFFIXES
from shared.video.listing import VIDEO_SUFFIXES, Video, list_videos, stem_of


def test_videos_are_found_sorted_and_hidden_files_left_out(tmp_path: Path) -> None:
    for name in ("b/2.avi", "b/1.MP4", "a/-x (1) [#]&;.avi", "a/.hidden.avi", "a/notes.txt", ".git/x.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12")
    videos = list_videos(tmp_path).videos
    assert [video.path for video in videos] == ["a/-x (1) [#]&;.avi", "b/1.MP4", "b/2.avi"]
    assert videos[0].clip_id == "a/-x (1) [#]&;"
    assert videos[0].num_bytes == 2


def test_links_that_lead_nowhere_are_not_lost(tmp_path: Path) -> None:
    (tmp_path / "a" / "folder.avi").mkdir(parents=True)
    (tmp_path / "a" / "x.avi").symlink_to(tmp_path / "nothing")
    assert [(video.path, video.num_bytes) for video in list_videos(tmp_path).videos] == [("a/x.avi", 0)]


@pytest.mark.parametrize(
    ("name", "message"), [(b"caf\xe9.avi", "not UTF-8"), (b"a\rb.avi", "control"), (b"a\nb.avi", "control")]
)
def test_names_that_no_manifest_can_hold_are_refused(tmp_path: Path, name: bytes, message: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / os.fsdecode(name)).touch()
    with pytest.raises(DataError, match=message):
        list_videos(tmp_path)


def test_folders_without_videos(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder of videos"):
        list_videos(tmp_path / "none")
    with pytest.raises(DataError, match="no videos in"):
        list_videos(tmp_path)
    (tmp_path / "x.avi").touch()
    with pytest.raises(DataError, match="no class folders"):
        list_videos(tmp_path)
    (tmp_path / "x.avi").unlink()
    (tmp_path / "jump").mkdir()
    (tmp_path / "jump" / "0001.jpg").touch()
    with pytest.raises(DataError, match=r"jump/0001.jpg is a picture outside a clip's folder.*<class>/<name>/"):
        list_videos(tmp_path)


def _make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"123")
    return folder


def test_folders_of_numbered_pictures_are_videos(tmp_path: Path) -> None:
    _make(tmp_path, "a/x/1.jpg", "a/x/2.jpg", "a/x/cover.jpg", "a/y.avi/0.png", "a/z.1.5/f_1.webp", "a/w.avi")
    listing = list_videos(tmp_path)
    assert [(video.path, video.num_bytes) for video in listing.videos] == [
        ("a/w.avi", 3),
        ("a/x", 6),  # of the numbered ones
        ("a/y.avi", 3),
        ("a/z.1.5", 3),
    ]
    assert [video.clip_id for video in listing.videos] == ["a/w", "a/x", "a/y", "a/z.1.5"]
    assert listing.num_frame_folders == 3
    assert [stem_of(tmp_path / video.path) for video in listing.videos] == ["w", "x", "y", "z.1.5"]
    assert stem_of(tmp_path / "a/unknown.suffix") == "unknown"


def test_everything_that_is_no_video_is_left_out_with_a_reason(tmp_path: Path) -> None:
    _make(tmp_path, "a/x.avi", "a/x.srt", "a/1.jpg", "a/.x.avi", "a/deep/x.avi", "a/deep/deeper/.y/z", "a/Thumbs.db")
    _make(
        tmp_path,
        "a/clip/1.jpg",
        "a/clip/3.jpg",
        "a/clip/cover.jpg",
        "a/clip/sound.wav",
        "a/clip/.2.jpg",
        "a/clip/flow/1.jpg",
    )
    _make(tmp_path, "a/mixed/1.jpg", "a/mixed/v.mp4", "a/shots/a.jpg", ".git/x", "x.avi", "README", "synthetic.json")
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    listing = list_videos(tmp_path)
    assert [video.path for video in listing.videos] == ["a/clip", "a/x.avi"]
    assert {row.path: row.reason for row in listing.left_out} == {
        ".git": "hidden",
        "README": "beside the class folders",
        "a/.x.avi": "hidden",
        "a/1.jpg": "picture outside a clip's folder",
        "a/clip/.2.jpg": "hidden",
        "a/clip/cover.jpg": "picture without a number",
        "a/clip/flow/1.jpg": "too deep",
        "a/clip/sound.wav": "beside the pictures of a clip",
        "a/deep/deeper/.y": "hidden",
        "a/deep/x.avi": "too deep",
        "a/mixed/1.jpg": "too deep",
        "a/mixed/v.mp4": "too deep",
        "a/shots/a.jpg": "picture without a number",
        "a/x.srt": "no video by its suffix",
        "empty": "class without a video",
        "empty/folder": "folder without a video",
        "x.avi": "beside the class folders",
    }


def test_a_video_wins_over_a_folder_of_its_frames(tmp_path: Path) -> None:
    _make(tmp_path, "a/x.mp4", "a/x/1.png", "a/x/2.png", "a/x/notes.txt", "a/y.avi/1.png", "a/y.mkv", "b/x/1.png")
    listing = list_videos(tmp_path)
    assert [video.path for video in listing.videos] == ["a/x.mp4", "a/y.mkv", "b/x"]
    assert listing.num_frame_folders == 1
    assert listing.left_out == (
        LeftOut(path="a/x", reason="frames of a video that is there"),
        LeftOut(path="a/y.avi", reason="frames of a video that is there"),
    )


def test_pictures_beside_folders_of_videos_make_no_video(tmp_path: Path) -> None:
    _make(
        tmp_path, "a/x.avi", "a/day/thumb01.png", "a/day/1/1.png", "a/clip/1.png", "a/clip/2.png", "a/clip/flow/1.png"
    )
    listing = list_videos(tmp_path)
    assert [video.path for video in listing.videos] == ["a/clip", "a/x.avi"]
    assert {row.path: row.reason for row in listing.left_out} == {
        "a/clip/flow/1.png": "too deep", "a/day/1/1.png": "too deep", "a/day/thumb01.png": "too deep"
    }  # fmt: skip


def test_a_link_to_a_frame_folder_is_a_video_and_others_lead_nowhere(tmp_path: Path) -> None:
    _make(tmp_path, "elsewhere/1.png", "videos/a/clip/1.png", "videos/a/clip/2.png")
    videos = tmp_path / "videos" / "a"
    (videos / "link").symlink_to(tmp_path / "elsewhere")
    (videos / "up").symlink_to(tmp_path)
    (videos / "clip" / "up").symlink_to(tmp_path)
    listing = list_videos(tmp_path / "videos")
    assert [video.path for video in listing.videos] == ["a/clip", "a/link"]
    assert [(row.path, row.reason) for row in listing.left_out] == [
        ("a/clip/up", "link to a folder"), ("a/up", "link to a folder")
    ]  # fmt: skip


def test_nothing_is_left_out_of_a_plain_folder(tmp_path: Path) -> None:
    _make(tmp_path, "a/x.avi", "a/.DS_Store", ".DS_Store", "b/y/1.jpg", "b/desktop.ini", "synthetic.json")
    assert list_videos(tmp_path).left_out == ()


def test_what_is_left_out_is_one_line_and_a_file(tmp_path: Path) -> None:
    rows = [
        LeftOut(path="b/\n=1.txt", reason="no video by its suffix"),
        LeftOut(path="a/deep/x.avi", reason="too deep"),
        LeftOut(path=os.fsdecode(b"a/deep/caf\xe9.avi"), reason="too deep"),
    ]
    assert left_out_line(rows) == "left out: 2 too deep (a/deep/x.avi), 1 no video by its suffix (b/\\n=1.txt)"
    write_left_out(tmp_path, rows)
    assert (tmp_path / "left_out.csv").read_text() == (
        "path,reason\na/deep/caf\\xe9.avi,too deep\na/deep/x.avi,too deep\nb/\\n=1.txt,no video by its suffix\n"
    )
    write_left_out(tmp_path, [LeftOut(path=name, reason="hidden") for name in ("=1+1.avi", "-x", "+x", "@x", "x=1")])
    assert [row.split(",")[0] for row in (tmp_path / "left_out.csv").read_text().splitlines()[1:]] == [
        "./+x", "./-x", "./=1+1.avi", "./@x", "x=1"
    ]  # fmt: skip
    write_left_out(tmp_path, [])
    assert not (tmp_path / "left_out.csv").exists()


def test_a_class_name_that_no_manifest_can_be_named_after(tmp_path: Path) -> None:
    _make(tmp_path, f"{'c' * 251}/x.avi")
    assert len(list_videos(tmp_path).videos) == 1
    _make(tmp_path, f"{'d' * 252}/x.avi")
    with pytest.raises(DataError, match=r"d\.\.\. has a name of 252 bytes.*more than 251.*shorter name"):
        list_videos(tmp_path)


def test_suffixes_are_those_that_ffmpeg_reads_as_video() -> None:
    asked = (
        ".gif .3gp .3g2 .mts .m2ts .ts .ogv .ogm .wmv .asf .mpg .mpeg .mpe .m1v .m2v .vob .divx .f4v .mxf .y4m .h264"
    )
    more = ".264 .h264 .hevc .rm .rmvb .dv .amv .nut .avi .mp4 .mkv .mov .webm"
    assert {*asked.split(), *more.split()} <= VIDEO_SUFFIXES
    assert not VIDEO_SUFFIXES & {*PICTURE_SUFFIXES, ".mp3", ".wav", ".ogg", ".m4a", ".txt", ".csv", ".srt", ".mod", ""}
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in VIDEO_SUFFIXES)


def test_the_stem_of_a_planned_video_needs_no_disk() -> None:
    assert Video(path="a/b.c.MKV", class_name="a", num_bytes=0).clip_id == "a/b.c"
    assert Video(path="a/b.c", class_name="a", num_bytes=0).clip_id == "a/b.c"
