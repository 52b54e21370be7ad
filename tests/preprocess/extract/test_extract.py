"""hmdb-prep extract through the command line: exact rows, quarantine, continuing, dividing, refusing."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import command_line, fail, run, succeed
from extraction import OPTIONS, content, kill_and_continue, places, wait_until
from media import HMDB_LIKE, REAL_JHMDB, ffmpeg_frames, make_video, real_video_files, turn

from shared.manifests.files import read_dataset, read_manifests, read_quarantine
from shared.manifests.notes import read_notes
from shared.shards.reader import ShardReader
from shared.video.resizing import FrameSize

NUM_GOOD = 12


def test_every_video_is_a_clip_or_a_quarantine_row(videos: Path, extracted: Path) -> None:
    frame = read_manifests(extracted / "manifests")
    quarantine = read_quarantine(extracted / "manifests").set_index("path")
    all_videos = {str(file.relative_to(videos)) for file in videos.rglob("*.*")}
    assert set(frame["path"]) | set(quarantine.index) == all_videos
    assert not set(frame["path"]) & set(quarantine.index)
    assert len(frame) == NUM_GOOD
    assert quarantine["stage"].to_dict() == {
        "walk/src0_walk_f_cm_np1_le_goo_0.mkv": "name", "walk/text.avi": "open", "run/zero.avi": "open",
        "run/audio.avi": "open", "sit/cut.avi": "open",
    }  # fmt: skip
    dataset = read_dataset(extracted / "manifests")
    assert (dataset.num_videos, dataset.num_clips, dataset.num_quarantined) == (17, 12, 5)
    assert dataset.class_names == ("run", "sit", "walk")
    assert sum(entry.num_clips for entry in dataset.shards) == NUM_GOOD


def test_manifest_values(extracted: Path) -> None:
    frame = read_manifests(extracted / "manifests").set_index("clip_id")
    row = frame.loc["walk/src3_walk_f_cm_np1_le_goo_3"]
    assert (row["label"], row["source"], row["body"], row["num_people"]) == (2, "src3", "f", "1")
    assert (row["codec"], row["fps"], row["width"], row["height"]) == ("mpeg4", 30.0, 320, 240)
    assert (row["num_frames"], row["num_padded"], row["decode_errors"], row["decoder"]) == (23, 0, 0, "cpu")
    assert row["duration_seconds"] == pytest.approx(23 / 30)
    assert frame.loc["sit/__short", "num_padded"] == 11
    assert frame.loc["sit/wide", "source"] == "wide"


def test_damage_and_odd_pixels_can_be_seen(tmp_path: Path, ffmpeg: str) -> None:
    videos = tmp_path / "videos"
    whole = make_video(videos / "run" / "whole.mp4", "-c:v", "libx264", "-bf", "0", "-g", "8").read_bytes()
    middle = whole.index(b"mdat") + int(0.3 * len(whole))
    (videos / "run" / "damaged.mp4").write_bytes(whole[:middle] + b"\xff" * 4000 + whole[middle + 4000 :])
    make_video(videos / "run" / "wide.avi", *HMDB_LIKE, "-vf", "setsar=2/1")
    out = succeed("hmdb-prep", "extract", "--videos", videos, *places(tmp_path), "--size", "native")
    manifests = tmp_path / "manifests"
    *others, last = out.splitlines()
    assert any(str(manifests / "notes.csv") in line for line in others)
    assert last.startswith(f"3 clips of 1 class in 1 shard: {tmp_path / 'shards'}; manifests: {manifests}; ")
    frame = read_manifests(manifests).set_index("clip_id")
    assert frame["decode_errors"].to_dict() == {"run/damaged": 1, "run/wide": 0, "run/whole": 0}
    damaged = frame.loc["run/damaged"]
    assert damaged["num_frames"] < 40
    assert damaged["duration_seconds"] == pytest.approx(4 / 3)
    assert damaged["fps"] == pytest.approx((damaged["num_frames"] - 1) / (4 / 3 - 1 / 30))
    note = "its pixels are 2.000 times as wide as high; stored as if they were square"
    assert read_notes(manifests).to_dict("records") == [{"path": "run/wide.avi", "note": note}]
    shown = succeed("hmdb-prep", "eda", *places(tmp_path))
    assert "packets that did not decode: 1" in shown
    assert note in shown
    shutil.rmtree(manifests)
    assert "notes.csv" in succeed("hmdb-prep", "extract", "--videos", videos, *places(tmp_path), "--size", "native")
    check_native(videos, tmp_path, num_clips=3)


def test_notes_on_what_no_column_says(tmp_path: Path, ffmpeg: str) -> None:
    folder = tmp_path / "videos" / "run"
    cover = make_video(tmp_path / "cover.png", "-update", "1", num_frames=1)
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", "-i", cover, "-map", "0", "-map", "1"]
    make_video(folder / "varied.mkv", "-c:v", "libx264", "-vf", "select=lt(n\\,12)+gt(n\\,27)", "-fps_mode", "vfr")
    subprocess.run([*command, "-c:v", "copy", "-disposition:v", "attached_pic", folder / "song.mp4"], check=True)
    shutil.copy(cover, folder / "picture.avi")
    whole = make_video(folder / "whole.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    turn(whole, 30)
    succeed("hmdb-prep", "extract", "--videos", tmp_path / "videos", *places(tmp_path))
    notes = read_notes(tmp_path / "manifests")
    still = "a still picture: one frame, repeated in the clip; is it meant?"
    assert dict(zip(notes["path"], notes["note"], strict=True)) == {
        "run/picture.avi": still,
        "run/song.mp4": still,
        "run/turned_30.mp4": "it is 30 degrees off a quarter turn; stored turned to the nearest quarter",
        "run/varied.mkv": "40 frames in 1.87 seconds, where the header says 30 a second: "
        "frames are missing or the rate varies",
    }
    clips = read_manifests(tmp_path / "manifests").set_index("clip_id")
    assert clips.loc["run/song", ["fps", "duration_seconds"]].tolist() == [0, 0]


@pytest.mark.skipif(not REAL_JHMDB.is_dir(), reason=f"no clips of J-HMDB at {REAL_JHMDB}")
def test_clips_of_hmdb51_and_jhmdb_need_no_notes(tmp_path: Path) -> None:
    files = [*real_video_files(folder="hmdb51"), *sorted(REAL_JHMDB.glob("*/*.avi"))[::60]]
    for file in files:
        (tmp_path / "videos" / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "videos" / file.parent.name)
    succeed("hmdb-prep", "extract", "--videos", tmp_path / "videos", *places(tmp_path), "--size", "32")
    assert read_notes(tmp_path / "manifests").empty


def test_no_source_is_on_both_sides(extracted: Path) -> None:
    frame = read_manifests(extracted / "manifests")
    for column in ("split1", "split2", "split3", "split_full"):
        assert (frame.groupby("source")[column].nunique() == 1).all()
        assert set(frame[column]) == {"train", "test"}


def test_shards_hold_what_the_manifests_say(extracted: Path) -> None:
    frame = read_manifests(extracted / "manifests")
    for name, rows in frame.groupby("shard"):
        with ShardReader(extracted / "shards" / str(name)) as reader:
            assert reader.frames.shape[1:] == (16, 224, 304, 3)
            for values in rows.itertuples():
                assert reader.clip_id[values.row] == values.clip_id
                assert reader.label[values.row] == values.label
                assert reader.crc32[values.row] == values.crc32
                assert json.loads(reader.manifest[values.row])["brightness"] == values.brightness


def test_rows_are_resized_exact_frames(videos: Path, extracted: Path) -> None:
    import torch

    from shared.video.resizing import resize_frames

    frame = read_manifests(extracted / "manifests")
    for values in frame.itertuples():
        with ShardReader(extracted / "shards" / values.shard) as reader:
            index, stored = reader.frame_index[values.row], reader.frames[values.row]
            expected = ffmpeg_frames(videos / values.path, height=values.height, width=values.width)
            assert len(expected) == values.num_frames
            resized = resize_frames(torch.from_numpy(expected[index].copy()), FrameSize(height=224, width=304))
            assert np.array_equal(stored, resized.numpy())


def test_native_rows_are_bit_identical(videos: Path, tmp_path: Path) -> None:
    succeed("hmdb-prep", "extract", "--videos", videos, *places(tmp_path), "--size", "native", *OPTIONS)
    check_native(videos, tmp_path, num_clips=NUM_GOOD)
    sizes = {ShardReader(file).layout.width for file in (tmp_path / "shards").glob("*.h5")}
    assert sizes == {320, 424}


def check_native(videos: Path, folder: Path, *, num_clips: int) -> None:
    frame = read_manifests(folder / "manifests")
    assert len(frame) == num_clips
    for values in frame.itertuples():
        with ShardReader(folder / "shards" / values.shard) as reader:
            expected = ffmpeg_frames(videos / values.path, height=values.height, width=values.width)
            assert len(expected) == values.num_frames
            assert np.array_equal(reader.frames[values.row], expected[reader.frame_index[values.row]])


@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize(("name", "frames_per_segment"), [("hmdb51", "41"), ("arid", "1"), ("other", "41")])
def test_real_videos_native(real_videos: Path, tmp_path: Path, name: str, frames_per_segment: str) -> None:
    videos = real_videos / name
    if name == "other":
        videos = tmp_path / "videos"
        shutil.copytree(real_videos / "other", videos / "other")
    options = ("--size", "native", "--frames-per-segment", frames_per_segment)
    succeed("hmdb-prep", "extract", "--videos", videos, *places(tmp_path), *options)
    check_native(videos, tmp_path, num_clips={"hmdb51": 5, "arid": 11, "other": 4}[name])
    if name == "hmdb51":
        frame = read_manifests(tmp_path / "manifests").set_index("class_name")
        assert frame["num_frames"].to_dict() == {
            "brush_hair": 408, "climb": 242, "climb_stairs": 74, "punch": 172, "swing_baseball": 140,
        }  # fmt: skip
        assert (frame["num_frames_header"] == frame["num_frames"] + 1).all()


@pytest.mark.slow
@pytest.mark.usefixtures("ffmpeg")
def test_jhmdb_native(tmp_path: Path) -> None:
    if not REAL_JHMDB.is_dir():
        pytest.skip(f"no clips of J-HMDB at {REAL_JHMDB}")
    succeed("hmdb-prep", "extract", "--videos", REAL_JHMDB, *places(tmp_path), "--size", "native")
    check_native(REAL_JHMDB, tmp_path, num_clips=663)


def test_a_second_run_does_nothing(videos: Path, extracted: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in extracted.rglob("*.*")}
    out = succeed("hmdb-prep", "extract", "--videos", videos, *places(extracted), *OPTIONS)
    assert "nothing to do" in out
    assert {file: file.stat().st_mtime_ns for file in extracted.rglob("*.*")} == before


def test_changed_parameters_or_videos_are_named(videos: Path, extracted: Path, tmp_path: Path) -> None:
    error = fail(1, "hmdb-prep", "extract", "--videos", videos, *places(extracted), *OPTIONS, "--size", "64")
    assert "size was 224x304, now 64x64" in error
    fewer = tmp_path / "fewer"
    shutil.copytree(videos, fewer)
    (fewer / "sit" / "wide.mp4").unlink()
    (fewer / "sit" / "new.avi").write_bytes(b"1")
    error = fail(1, "hmdb-prep", "extract", "--videos", fewer, *places(extracted), *OPTIONS)
    assert "1 video added: sit/new.avi" in error
    assert "1 video gone: sit/wide.mp4" in error


def test_overwrite_starts_anew(videos: Path, extracted: Path, tmp_path: Path) -> None:
    shutil.copytree(extracted, tmp_path, dirs_exist_ok=True)
    (tmp_path / "shards" / "mine.txt").write_text("not an extraction's")
    succeed("hmdb-prep", "extract", "--videos", videos, *places(tmp_path), "--overwrite", "--size", "32x48")
    with ShardReader(tmp_path / "shards" / "shard-00000.h5") as reader:
        assert reader.frames.shape[2:4] == (32, 48)
    assert (tmp_path / "shards" / "mine.txt").exists()
    assert not (tmp_path / "shards" / "shard-00001.h5").exists()


def test_strict(videos: Path, extracted: Path) -> None:
    error = fail(1, "hmdb-prep", "extract", "--videos", videos, *places(extracted), *OPTIONS, "--strict")
    assert "5 of 17 videos quarantined" in error


def test_a_foreign_shard_is_refused(videos: Path, extracted: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    shutil.copy(extracted / "shards" / "shard-00000.h5", tmp_path / "shards" / "shard-00000.h5")
    error = fail(1, "hmdb-prep", "extract", "--videos", videos, *places(tmp_path), "--size", "32")
    assert "of another data set" in error


def test_killed_runs_continue_to_the_same_result(videos: Path, extracted: Path, tmp_path: Path) -> None:
    kill_and_continue(videos, tmp_path, kills=3, options=OPTIONS, seconds=(0.5, 3.0))
    assert content(tmp_path) == content(extracted)


def test_ctrl_c_leaves_a_clean_state(videos: Path, extracted: Path, tmp_path: Path) -> None:
    many = tmp_path / "videos"
    for copy in range(40):
        shutil.copytree(videos / "run", many / f"run{copy:02d}")
    command = command_line("hmdb-prep", ["extract", "--videos", many, *places(tmp_path), *OPTIONS])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: any((tmp_path / "shards").glob("shard-*.h5")))
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("interrupted: ")
    assert "Traceback" not in error
    assert not list((tmp_path / "shards").glob(".*tmp"))


def test_tasks_in_any_order_equal_one_run(videos: Path, extracted: Path, tmp_path: Path) -> None:
    base = ("extract", "--videos", videos, *places(tmp_path), *OPTIONS, "--num-tasks", "3", "--task-id")
    for task in ("2", "0", "2"):
        assert "still to come" in succeed("hmdb-prep", *base, task)
    error = fail(1, "hmdb-prep", "merge", "--videos", videos, *places(tmp_path))
    assert "1 of 4 shards are not there yet" in error
    succeed("hmdb-prep", *base, "1")
    assert content(tmp_path) == content(extracted)
    assert "--task-id is 3" in fail(2, "hmdb-prep", *base, "3")


def test_merge_repairs_the_manifests(videos: Path, extracted: Path, tmp_path: Path) -> None:
    shutil.copytree(extracted, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "manifests")
    succeed("hmdb-prep", "merge", "--videos", videos, *places(tmp_path), installed=True)
    assert content(tmp_path) == content(extracted)


def test_two_extractions_into_one_folder(videos: Path, tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "shards").mkdir()
    with (tmp_path / "shards" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        error = fail(1, "hmdb-prep", "extract", "--videos", videos, *places(tmp_path))
    assert "another `hmdb-prep extract` is writing" in error


def test_folders_that_hold_nothing_to_extract(tmp_path: Path) -> None:
    cases = {"none": "no folder of videos", "empty": "no videos in", "flat": "no class folders", "bad": "no clip came"}
    for name in ("empty", "flat", "bad/walk"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "flat" / "x.avi").touch()
    (tmp_path / "bad" / "walk" / "x.avi").write_text("text")
    for name, message in cases.items():
        assert message in fail(1, "hmdb-prep", "extract", "--videos", tmp_path / name, *places(tmp_path / f"to_{name}"))
    assert pd.read_csv(tmp_path / "to_bad" / "manifests" / "quarantine.csv")["path"].tolist() == ["walk/x.avi"]


def test_wrong_usage(tmp_path: Path) -> None:
    for option, value, message in (
        ("--frames-per-segment", "2", "must be odd"),
        ("--size", "12by4", "HEIGHTxWIDTH"),
        ("--fit", "stretch", "crop, squash, pad"),
        ("--num-frames", "0", "--num-frames is 0"),
        ("--workers", "0", "--workers is 0"),
        ("--timeout", "0", "--timeout is 0"),
        ("--timeout", "nan", "--timeout is nan"),
        ("--workers", "two", "hmdb-prep extract --help"),
        ("--sise", "16", "No such option"),
        ("--device", "tpu", "--device is"),
    ):
        error = fail(2, "hmdb-prep", "extract", "--videos", tmp_path, option, value)
        assert message in error
        assert len(error.splitlines()) <= 2
    assert "No such command" in fail(2, "hmdb-prep", "extrakt")
    assert "Commands:" in run("hmdb-prep").out + run("hmdb-prep").err


def test_a_timeout_quarantines_the_video(videos: Path, tmp_path: Path) -> None:
    outcome = run("hmdb-prep", "extract", "--videos", videos, *places(tmp_path), *OPTIONS, "--timeout", "0.001")
    assert outcome.code == 1
    stages = read_quarantine(tmp_path / "manifests")["stage"].value_counts().to_dict()
    assert stages["timeout"] > 8


def test_a_disk_that_is_too_small(videos: Path, tmp_path: Path) -> None:
    options = ("--size", "8192", "--num-frames", "4096")
    error = fail(1, "hmdb-prep", "extract", "--videos", videos, *places(tmp_path), *options)
    assert "GB are needed" in error
    assert not list((tmp_path / "shards").glob("*.h5"))
