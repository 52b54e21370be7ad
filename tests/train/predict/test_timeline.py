"""lsvit-train predict --window: windows against predictions for their very frames, what is written, memory."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import fail, run, succeed
from made_run import make_run
from media import HMDB_LIKE, dump_frames, make_video

from shared.next_command import Places
from shared.video.decoding import open_video
from train.data.views import Views
from train.predict import window_frames
from train.predict.answering import answer_all
from train.predict.command import _calibrated_timeline
from train.predict.inputs import Input
from train.predict.next_step import after_timelines
from train.predict.timeline import Timeline, WindowAnswer, answer_over_time, stretches
from train.predict.timeline_output import print_timelines, time_text
from train.predict.timeline_picture import columns_of, stripe_labels, tick_step, tick_text, write_picture
from train.predict.windows import Windowing
from train.trained.calibration import Calibration
from train.trained.model import LoadedModel

VARIABLE = ("-vf", "setpts=(N+0.4*mod(N\\,3))/30/TB", "-fps_mode", "vfr", "-c:v", "libx264")
CONTAINERS = {
    "a.avi": HMDB_LIKE,
    "a.mp4": ("-c:v", "libx264"),
    "a.mkv": ("-c:v", "libx264"),
    "a.ts": ("-c:v", "mpeg2video"),
    "a.264": ("-c:v", "libx264", "-bf", "0"),
    "variable.mp4": VARIABLE,
}


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedModel:
    return make_run(tmp_path / "runs" / "one", class_names=("jump", "run"))


def over_time(
    loaded: LoadedModel, video: Path, *, length: float, stride: float, fps: float = 0.0, views: Views | None = None
) -> Timeline:
    windowing = Windowing(length=round(length * 1e6), stride=round(stride * 1e6))
    return answer_over_time(
        loaded, Input(name=str(video)), views=views or Views(), windowing=windowing, batch_size=1, folder_fps=fps
    )


def shares_of(timeline: Timeline) -> list[np.ndarray]:
    assert not timeline.error
    return [each.probabilities for each in timeline.windows if each.probabilities is not None]


def whole(loaded: LoadedModel, video: Path, *, views: Views | None = None) -> np.ndarray:
    (answer,) = answer_all(loaded, [Input(name=str(video))], views=views or Views(), batch_size=1, num_workers=1)
    assert answer.probabilities is not None, answer.error
    return answer.probabilities


def part_of(dump: Path, folder: Path, *, first: int, count: int) -> Path:
    """A frame folder of some frames of another one."""
    folder.mkdir(parents=True)
    for picture in sorted(dump.iterdir())[first : first + count]:
        (folder / picture.name).symlink_to(picture)
    return folder


@pytest.mark.parametrize("views", [Views(), Views(num_candidates=3, num_crops=3)], ids=str)
@pytest.mark.parametrize("name", CONTAINERS)
def test_a_window_of_everything_is_the_plain_prediction(
    ffmpeg: str, loaded: LoadedModel, tmp_path: Path, name: str, views: Views
) -> None:
    video = make_video(tmp_path / name, *CONTAINERS[name], num_frames=70, size="64x48")
    timeline = over_time(loaded, video, length=1000, stride=500, views=views)
    (only,) = shares_of(timeline)
    assert np.array_equal(only, whole(loaded, video, views=views))
    assert timeline.windows[0].num_frames == 70


@pytest.mark.parametrize("all_kept_bytes", [0, 10**9], ids=["read again", "all kept"])
@pytest.mark.parametrize("name", CONTAINERS)
def test_a_window_is_the_prediction_for_its_very_frames(
    ffmpeg: str, loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, all_kept_bytes: int
) -> None:
    monkeypatch.setattr(window_frames, "_ALL_KEPT_BYTES", all_kept_bytes)
    video = make_video(tmp_path / name, *CONTAINERS[name], num_frames=100, size="64x48")
    dump = dump_frames(video, tmp_path / "dump")
    rate = open_video(video).header.fps
    timeline = over_time(loaded, video, length=1.0, stride=0.4)
    times = [(number + (0.4 * (number % 3) if name == "variable.mp4" else 0)) / 30 for number in range(100)]
    if name == "a.264":
        times = [number / rate for number in range(100)]
    assert len(timeline.windows) > 5
    for place, window in enumerate(timeline.windows):
        inside = [number for number, time in enumerate(times) if -1e-3 < time - 0.4 * place < 1.0 - 1e-3]
        assert window.num_frames == len(inside) and window.start == pytest.approx(0.4 * place)
        folder = part_of(dump, tmp_path / "parts" / str(place), first=inside[0], count=len(inside))
        assert np.array_equal(window.probabilities, whole(loaded, folder)), place
    assert timeline.windows[-1].end == pytest.approx(times[-1] + 1 / rate, abs=0.02)
    assert all(window.end == pytest.approx(window.start + 1.0) for window in timeline.windows[:-1])
    assert np.ptp(np.stack(shares_of(timeline)), axis=0).max() > 1e-4  # the windows do differ


def test_real_clips_are_read_once_and_window_by_window(
    real_videos: Path, loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr(
        window_frames, "open_video", lambda path, **more: opened.append(path) or open_video(path, **more)
    )
    for video in sorted((real_videos / "hmdb51").rglob("*.avi"))[:3]:
        opened.clear()
        timeline = over_time(loaded, video, length=1.0, stride=1.0)
        assert opened == [video]
        dump = dump_frames(video, tmp_path / video.stem)
        assert sum(window.num_frames for window in timeline.windows) == len(list(dump.iterdir()))
        for place, shares in enumerate(shares_of(timeline)):
            part = part_of(dump, tmp_path / f"{video.stem} {place}", first=30 * place, count=30)
            assert np.array_equal(shares, whole(loaded, part))


def test_only_frames_that_may_be_sampled_are_converted(
    ffmpeg: str, loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video(tmp_path / "a.mp4", "-c:v", "libx264", num_frames=600, size="64x48")
    kept = []
    resize = window_frames.resize_frames
    monkeypatch.setattr(window_frames, "resize_frames", lambda frames, size: kept.append(1) or resize(frames, size))
    timeline = over_time(loaded, video, length=10.0, stride=10.0)
    assert len(timeline.windows) == 2 and len(kept) <= 2 * 3 * 4


def test_frame_folders_go_by_their_rate(ffmpeg: str, loaded: LoadedModel, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", "-c:v", "libx264", num_frames=45, size="64x48")
    dump = dump_frames(video, tmp_path / "dump")
    of_folder, of_file = (
        over_time(loaded, each, length=0.5, stride=0.5, fps=fps) for each, fps in ((dump, 30), (video, 0))
    )
    assert [(each.start, each.end, each.num_frames) for each in of_folder.windows] == [
        (0, 0.5, 15),
        (0.5, 1, 15),
        (1, 1.5, 15),
    ]
    assert all(np.array_equal(*pair) for pair in zip(shares_of(of_folder), shares_of(of_file), strict=True))
    assert "--fps" in over_time(loaded, dump, length=0.5, stride=0.5).error


def test_a_window_in_which_nothing_is_shown_has_no_answer(ffmpeg: str, loaded: LoadedModel, tmp_path: Path) -> None:
    gap = ("-vf", "setpts=(N+gte(N\\,10)*100)/30/TB", "-fps_mode", "vfr", "-c:v", "libx264")
    timeline = over_time(loaded, make_video(tmp_path / "a.mp4", *gap, num_frames=20, size="64x48"), length=1, stride=1)
    assert [each.num_frames for each in timeline.windows] == [10, 0, 0, 10]
    assert [each.probabilities is None for each in timeline.windows] == [False, True, True, False]


def test_pieces_shorter_than_a_frame_are_refused(ffmpeg: str, loaded: LoadedModel, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", "-c:v", "libx264", num_frames=10, size="64x48")
    assert (
        "--window is 0.02 s, and a frame of it is shown for 0.0333 s"
        in over_time(loaded, video, length=0.02, stride=0.02).error
    )
    assert "--stride is 0.02 s" in over_time(loaded, video, length=1, stride=0.02).error


def test_frames_of_too_many_windows_at_once_are_refused(
    ffmpeg: str, loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_frames, "_MOST_BYTES", 30 * 24 * 32 * 3)
    video = make_video(tmp_path / "a.mp4", "-c:v", "libx264", num_frames=90, size="64x48")
    assert "choose a larger --stride" in over_time(loaded, video, length=2, stride=0.1).error
    assert not over_time(loaded, video, length=2, stride=2).error


@pytest.mark.slow
def test_a_long_video_takes_no_more_memory_than_a_short_one(ffmpeg: str, tmp_path: Path) -> None:
    """Three minutes, whose frames would take 4.8 GB in their stored size, with 768 MB to spare."""
    make_run(tmp_path / "run", class_names=("jump", "run"), height=480, width=640)
    video = make_video(tmp_path / "a.mp4", "-c:v", "libx264", "-preset", "ultrafast", num_frames=5400, size="32x24")
    script = Path(__file__).parents[2] / "helpers" / "long_prediction.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "run", video],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.stdout.splitlines() == ["179 180.0 ", "1 180.0 "], done.stderr


@pytest.mark.slow
def test_a_video_much_longer_than_the_training_clips_gets_a_word(ffmpeg: str, tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "one", class_names=("jump", "run"), longest_seconds=0.5)
    make_run(tmp_path / "runs" / "old", class_names=("jump", "run"))
    for name, count in (("short", 45), ("long", 60), ("longer", 90)):
        make_video(tmp_path / f"{name}.mp4", "-c:v", "libx264", num_frames=count, size="64x48")
    videos = ("short.mp4", "long.mp4", "longer.mp4")
    said = succeed("lsvit-train", "predict", "one", *videos, cwd=tmp_path)
    assert "longer.mp4, the longest of 2, is shown for 3 s, and the longest training clip for 0.5 s" in said
    assert "--window 1 answers over time" in said
    for quiet in (("one", "short.mp4"), ("old", *videos), ("one", "long.mp4", "--window", "1")):
        assert "training clip" not in succeed("lsvit-train", "predict", *quiet, cwd=tmp_path)
    outcome = run("lsvit-train", "predict", "one", "long.mp4", "--json", cwd=tmp_path)
    assert "training clip" in outcome.err and json.loads(outcome.out)


# What is printed and written


def timeline_of(
    labels: list[int | None], *, stride: float = 1.0, length: float = 2.0, video: str = "v.mp4"
) -> Timeline:
    shares = {0: np.array([0.7, 0.2, 0.1]), 1: np.array([0.2, 0.5, 0.3]), 2: np.array([0.0, 0.1, 0.9])}
    return Timeline(
        video=video,
        windows=tuple(
            WindowAnswer(
                start=place * stride,
                end=place * stride + length,
                num_frames=0 if label is None else 60,
                probabilities=None if label is None else shares[label],
            )
            for place, label in enumerate(labels)
        ),
    )


def test_windows_with_one_best_action_are_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    timeline = timeline_of([0, 0, 1, None, 1, 2])
    assert [(each.label, len(each.windows)) for each in stretches(timeline.windows)] == [(0, 2), (1, 1), (1, 1), (2, 1)]
    print_timelines([timeline, Timeline(video="bad.mp4", error="broken")], ("a", "b", "c"), top=2, title="t")
    out, err = capsys.readouterr()
    first = next(line for line in out.splitlines() if "v.mp4" in line).split()
    assert first[:6] == ["v.mp4", "0:00.00", "0:03.00", "a", "70.00", "%"] and first[-3:] == ["b", "20.00", "%"]
    assert "bad.mp4: broken" in err and "1 of 2 videos gave no answer" in err


def test_windows_are_calibrated_as_videos_are() -> None:
    calibration = Calibration(
        checkpoint="best.pt", epoch=1, temperature=2.0, num_clips=9, loss_before=1, loss_after=1,
        calibration_error_before=0, calibration_error_after=0,
    )  # fmt: skip
    first, nothing = _calibrated_timeline(timeline_of([0, None]), calibration).windows
    roots = np.sqrt([0.7, 0.2, 0.1])
    assert nothing.probabilities is None and first.probabilities is not None
    np.testing.assert_allclose(first.probabilities, roots / roots.sum(), atol=1e-12)


def test_a_table_is_bounded_and_says_what_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_timelines([timeline_of([0, 1] * 80)], ("a", "b", "c"), top=1, title="t")
    out = capsys.readouterr().out
    assert out.count(" %") == 100 and "60 more rows are not shown; --csv, --json and --picture have all" in out


def test_times_are_readable() -> None:
    assert [time_text(each) for each in (0, 7.5, 59.999, 754.25, 3723)] == [
        "0:00.00",
        "0:07.50",
        "1:00.00",
        "12:34.25",
        "1:02:03.00",
    ]
    assert [tick_text(7.5, length=60), tick_text(90, length=200), tick_text(3690, length=9000)] == [
        "7.5 s",
        "1:30",
        "1:01:30",
    ]
    assert [tick_step(each) for each in (0.5, 60, 170, 5400, 10**6)] == [0.05, 10, 30, 600, 172_800.0]


def test_the_picture_is_bounded_and_shows_every_peak(tmp_path: Path) -> None:
    labels: list[int | None] = [0] * 20_000
    labels[12_345] = 2
    timeline = timeline_of(labels)
    assert stripe_labels(timeline.windows) == [0, 1, 2]
    edges, shares = columns_of(timeline.windows, [2])
    assert shares.shape[1] <= 1500 and len(edges) == shares.shape[1] + 1
    column = int(shares[0].argmax())
    assert shares[0, column] == 0.9 and edges[column] <= 12_346 <= edges[column + 1]
    assert edges[0] == 0 and edges[-1] == 20_001
    assert write_picture(tmp_path / "p.png", [timeline], ("a", "$b", "c")) == ""
    note = write_picture(tmp_path / "many.png", [timeline_of([0, 1])] * 13, ("a", "b", "c"))
    assert note == "the picture shows the first 12 of 13 videos"
    from PIL import Image

    sizes = [Image.open(tmp_path / name).size for name in ("p.png", "many.png")]
    assert sizes[0][0] == 1200 and max(map(max, sizes)) < 4000


def test_nothing_shown_is_a_gap_in_the_picture() -> None:
    edges, shares = columns_of(timeline_of([0, None, 1], length=1.0).windows, [0])
    assert edges.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(shares, [[0.7, np.nan, 0.2]])


@pytest.fixture
def scene(ffmpeg: str, tmp_path: Path) -> Path:
    """A folder with a run ``one``, ``a.mp4`` of 3 s, its dump ``dump`` and a broken ``b.mp4``."""
    make_run(tmp_path / "runs" / "one", class_names=("jump", "run"))
    video = make_video(tmp_path / "a.mp4", "-c:v", "libx264", num_frames=90, size="64x48")
    dump_frames(video, tmp_path / "dump")
    (tmp_path / "b.mp4").write_text("x")
    return tmp_path


def test_command_line_writes_json_csv_and_picture(scene: Path) -> None:
    arguments = ("--window", "1", "--stride", "0.5", "--csv", "o.csv", "--picture", "o.png")
    outcome = run("lsvit-train", "predict", "one", "a.mp4", "b.mp4", *arguments, "--json", cwd=scene)
    assert outcome.code == 1
    good, bad = json.loads(outcome.out)
    assert set(bad) == {"video", "error"}
    assert good["video"] == "a.mp4" and set(good) == {"video", "windows"}
    assert [(each["start"], each["end"], each["num_frames"]) for each in good["windows"]] == [
        (0.5 * place, 0.5 * place + 1, 30) for place in range(5)
    ]
    for window in good["windows"]:
        shares = [each["probability"] for each in window["predictions"]]
        assert sum(shares) == pytest.approx(1) and shares == sorted(shares, reverse=True)
        assert {each["action"] for each in window["predictions"]} == {"jump", "run"}
    rows = list(csv.DictReader((scene / "o.csv").open()))
    assert list(rows[0]) == ["video", "start", "end", "num_frames", "action", "probability", "error", "jump", "run"]
    assert [(float(row["start"]), row["action"]) for row in rows[:5]] == [
        (each["start"], each["predictions"][0]["action"]) for each in good["windows"]
    ]
    assert rows[5]["video"] == "b.mp4" and rows[5]["error"]
    assert (scene / "o.png").read_bytes()[:4] == b"\x89PNG"
    assert "wrote 5 windows to o.csv" in outcome.err and "drew o.png" in outcome.err


def test_command_line_prints_a_table_over_time(scene: Path) -> None:
    out = succeed("lsvit-train", "predict", "one", "a.mp4", "dump", "--window", "1", "--fps", "30", cwd=scene)
    rows = [line.split() for line in out.splitlines() if line.strip().startswith(("a.mp4", "dump"))]
    assert [row[:2] for row in rows] == [["a.mp4", "0:00.00"], ["dump", "0:00.00"]]
    assert rows[0][1:] == rows[1][1:]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--stride", "1"), 2, "--stride needs --window"),
        (("--window", "0"), 2, "--window is 0"),
        (("--window", "1", "--stride", "2"), 2, "at most 1"),
        (("--window", "1", "--csv-format", "competition"), 2, "one row a video"),
        (("--picture", "x.png"), 2, "--picture is for predictions over time"),
        (("--window", "1", "--picture", "x.jpg"), 2, "--picture is x.jpg; it is written as PNG"),
        (("--fps", "30"), 2, "--fps is for predictions over time"),
        (("--window", "1", "--fps", "0"), 2, "--fps is 0"),
    ],
)
def test_command_line_refuses_what_does_not_go_together(
    scene: Path, arguments: tuple[str, ...], code: int, text: str
) -> None:
    assert text in fail(code, "lsvit-train", "predict", "one", "a.mp4", *arguments, cwd=scene)


def test_frame_folders_without_a_rate_name_the_option(scene: Path) -> None:
    assert "--fps" in fail(1, "lsvit-train", "predict", "one", "dump", "--window", "1", cwd=scene)


def test_the_next_command_explains_the_clearest_window_of_a_file(ffmpeg: str, tmp_path: Path) -> None:
    video = str(make_video(tmp_path / "a:b.mp4", num_frames=120, size="64x48"))
    folder, absent = timeline_of([2], video=str(tmp_path)), Timeline(video="gone.mp4", error="no such file")
    line = after_timelines("my run", [folder, timeline_of([0, None, 2], video=video), absent], places=Places())
    cut, explain = line.split(" && ")
    assert explain == "lsvit-train explain 'my run' ./a:b-2s.mp4"
    subprocess.run(["sh", "-c", cut], cwd=tmp_path, check=True)
    assert (tmp_path / "a:b-2s.mp4").stat().st_size
    assert after_timelines("r", [folder], places=Places()) == ""
    cut_short = timeline_of([0, 2], video=video)
    last = dataclasses.replace(cut_short.windows[1], num_frames=2)  # surer, and hardly anything to see
    line = after_timelines("r", [dataclasses.replace(cut_short, windows=(cut_short.windows[0], last))], places=Places())
    assert line.startswith("ffmpeg -v error -ss 0 -t 2 ")
    one = after_timelines("r", [timeline_of([2], video=video)], places=Places())
    assert one == f"lsvit-train explain r {video}"
