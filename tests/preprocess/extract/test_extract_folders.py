"""hmdb-prep extract on frame folders, on files of many suffixes, and what it says of everything else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from commands import command_line, fail, run, succeed
from extraction import OPTIONS, places
from media import HMDB_LIKE, dump_frames, make_video

from preprocess.extract.extraction_plan import ExtractionParameters, dataset_id_of
from shared.video.listing import Video

SIZE = ("--size", "24x32", "--num-frames", "4", "--frames-per-segment", "3")


def rows_of(tmp_path: Path) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The manifest by clip_id, and the stored frames of each clip."""
    frame = pd.concat(pd.read_csv(file) for file in (tmp_path / "manifests/clips").glob("*.csv")).set_index("clip_id")
    frames = {}
    for clip_id, row in frame.iterrows():
        with h5py.File(tmp_path / "shards" / row["shard"]) as file:
            frames[str(clip_id)] = file["frames"][row["row"]]
    return frame, frames


@pytest.fixture(scope="module")
def extracted(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two videos, their PNG dumps under other names, and things that are no videos; what extract said."""
    tmp_path = tmp_path_factory.mktemp("folders")
    videos = tmp_path / "videos"
    for name, count, pattern in [("jump/a", 30, "%05d.png"), ("run/b", 3, "frame_%d.png")]:
        video = make_video(videos / f"{name}.avi", *HMDB_LIKE, num_frames=count, size="64x48")
        dump_frames(video, videos / f"{name}_dumped", pattern)
    (videos / "run" / "b_dumped" / "cover.png").touch()
    (videos / "run" / "subtitles.srt").touch()
    (videos / "run" / "deep").mkdir()
    shutil.copy(videos / "run" / "b.avi", videos / "run" / "deep" / "c.avi")
    (videos / "nothing").mkdir()
    (videos / "broken").mkdir()
    (videos / "broken" / "x").mkdir()
    (videos / "broken" / "x" / "1.jpg").write_text("no picture")
    said = succeed("hmdb-prep", "extract", "--videos", videos, *places(tmp_path), *OPTIONS, *SIZE, "--fps", "30")
    return tmp_path, said


def test_png_dumps_give_the_rows_of_their_videos_bit_for_bit(extracted: tuple[Path, str]) -> None:
    frame, frames = rows_of(extracted[0])
    statistics = list(frame.columns[frame.columns.get_loc("brightness") :])
    for clip_id in ("jump/a", "run/b"):
        assert np.array_equal(frames[clip_id], frames[f"{clip_id}_dumped"])
        same = ["class_name", "label", "fps", "width", "height", "num_frames", "num_padded", "crc32", *statistics]
        assert frame.loc[clip_id, same].tolist() == frame.loc[f"{clip_id}_dumped", same].tolist()
    assert frame.loc["jump/a_dumped", ["path", "codec", "fps"]].tolist() == ["jump/a_dumped", "frames", 30]
    assert frame.loc["jump/a_dumped", "duration_seconds"] == pytest.approx(1.0)
    assert json.loads((extracted[0] / "manifests/dataset.json").read_text())["folder_fps"] == 30
    assert succeed("hmdb-prep", "verify", *places(extracted[0]), installed=True)


def test_what_is_left_out_is_said_in_one_line_and_listed(extracted: tuple[Path, str]) -> None:
    tmp_path, said = extracted
    (line,) = [line for line in said.splitlines() if line.startswith("left out: ")]
    assert "1 too deep (run/deep/c.avi)" in line and line.endswith(str(tmp_path / "manifests/left_out.csv"))
    listed = pd.read_csv(tmp_path / "manifests/left_out.csv")
    assert dict(zip(listed["path"], listed["reason"], strict=True)) == {
        "nothing": "class without a video",
        "run/b_dumped/cover.png": "picture without a number",
        "run/deep/c.avi": "too deep",
        "run/subtitles.srt": "no video by its suffix",
    }
    quarantine = pd.read_csv(tmp_path / "manifests/quarantine.csv")
    assert quarantine["path"].tolist() == ["broken/x"]
    assert "none of its 1 pictures can be read" in quarantine["error"].item()


def test_the_list_goes_when_nothing_is_left_out_any_more(extracted: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(extracted[0], tmp_path / "copy")
    videos = tmp_path / "copy" / "videos"
    (videos / "run" / "subtitles.srt").unlink()
    (videos / "run" / "b_dumped" / "cover.png").unlink()
    (videos / "nothing").rmdir()
    shutil.rmtree(videos / "run" / "deep")
    said = succeed(
        "hmdb-prep", "extract", "--videos", videos, *places(tmp_path / "copy"), *OPTIONS, *SIZE, "--fps", "30"
    )
    assert "nothing to do" in said and "left out" not in said
    assert not (tmp_path / "copy" / "manifests/left_out.csv").exists()


def test_another_fps_is_another_extraction(extracted: tuple[Path, str]) -> None:
    videos = extracted[0] / "videos"
    error = fail(1, "hmdb-prep", "extract", "--videos", videos, *places(extracted[0]), *OPTIONS, *SIZE, "--fps", "25")
    assert "folder_fps was 30.0, now 25.0" in error or "another" in error


def test_fps_is_refused_where_it_says_nothing(ffmpeg: str, tmp_path: Path) -> None:
    make_video(tmp_path / "videos/a/x.avi", *HMDB_LIKE, num_frames=3, size="64x48")
    arguments = ("extract", "--videos", tmp_path / "videos", *places(tmp_path), *SIZE)
    assert "--fps is for folders of pictures" in fail(2, "hmdb-prep", *arguments, "--fps", "25")
    assert "--fps is nan; it must lie between" in fail(2, "hmdb-prep", *arguments, "--fps", "nan")
    assert not (tmp_path / "shards").exists()


def test_without_fps_a_data_set_keeps_the_id_that_it_had() -> None:
    videos = [Video(path="a/x.avi", class_name="a", num_bytes=5)]
    expected = "3cb18f"  # of the version before --fps
    assert dataset_id_of(ExtractionParameters(), videos)[:6] == expected
    assert dataset_id_of(ExtractionParameters(folder_fps=25), videos)[:6] != expected


def test_videos_of_many_suffixes_are_extracted(ffmpeg: str, tmp_path: Path) -> None:
    suffixes = ".gif .3gp .mts .ogv .wmv .mpg .m2v .vob .y4m .nut .mxf .asf .ts .F4V".split()
    for suffix in suffixes:
        options = ("-c:v", "mpeg4") if suffix == ".3gp" else ("-f", "mp4") if suffix == ".F4V" else ()
        make_video(tmp_path / "videos/a" / f"x{suffix[1:]}{suffix}", *options, num_frames=5, size="64x48", rate="25")
    succeed("hmdb-prep", "extract", "--videos", tmp_path / "videos", *places(tmp_path), *OPTIONS, *SIZE)
    frame, _ = rows_of(tmp_path)
    assert sorted(Path(path).suffix for path in frame["path"]) == sorted(suffixes)
    assert set(frame["num_frames"]) == {5}


def test_a_long_tmpdir_and_a_long_class_name_are_no_matter(ffmpeg: str, tmp_path: Path) -> None:
    long = tmp_path / ("t" * 120)
    long.mkdir()
    names = ["c" * 240, "ü" * 120]
    for name in names:
        make_video(tmp_path / "videos" / name / "x.avi", *HMDB_LIKE, num_frames=3, size="64x48")
    command = command_line("hmdb-prep", ["extract", "--videos", tmp_path / "videos", *places(tmp_path), *SIZE])
    environment = os.environ | {"TMPDIR": str(long), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(file.stem for file in (tmp_path / "manifests/clips").iterdir()) == sorted(names)
    too_long = tmp_path / "videos" / ("d" * 253)
    too_long.mkdir()
    shutil.copy(tmp_path / "videos" / names[0] / "x.avi", too_long)
    error = fail(1, "hmdb-prep", "extract", "--videos", tmp_path / "videos", *places(tmp_path), *SIZE)
    assert "253 bytes" in error and "shorter name" in error


def test_loose_pictures_in_a_class_folder_get_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "videos/jump").mkdir(parents=True)
    (tmp_path / "videos/jump/0001.jpg").touch()
    error = fail(1, "hmdb-prep", "extract", "--videos", tmp_path / "videos", *places(tmp_path))
    assert "0001.jpg is a picture outside a clip's folder" in error and "<class>/<name>/ of numbered pictures" in error
    (tmp_path / "videos/jump/0001.jpg").rename(tmp_path / "videos/0001.jpg")
    outcome = run("hmdb-prep", "extract", "--videos", tmp_path / "videos", *places(tmp_path))
    assert outcome.code == 1 and "1 beside the class folders (0001.jpg)" in outcome.err


def test_the_quarantine_says_the_same_wherever_videos_lie_and_names_folders_as_such(
    ffmpeg: str, tmp_path: Path
) -> None:
    videos = tmp_path / "videos" / "a"
    make_video(videos / "good.avi", *HMDB_LIKE, num_frames=3, size="64x48")
    dump_frames(videos / "good.avi", videos / "two")
    shutil.copytree(videos / "two", videos / "two.avi")
    (videos / "link.avi").symlink_to(tmp_path / "nothing")
    succeed("hmdb-prep", "extract", "--videos", tmp_path / "videos", *places(tmp_path), *OPTIONS, *SIZE)
    quarantine = pd.read_csv(tmp_path / "manifests/quarantine.csv").set_index("path")["error"]
    assert quarantine["a/link.avi"] == "no such file"
    assert quarantine["a/two.avi"] == "its clip_id a/two is taken by the frame folder a/two; rename one of them"
