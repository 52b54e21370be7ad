"""lsvit-train predict: inputs, decoding apart, answers, output, and the same numbers as on the shards."""

from __future__ import annotations

import csv
import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run
from made_dataset import CLASSES
from made_run import make_run, small_config
from media import HMDB_LIKE, make_video
from misbehaving import decode_by_name

from preprocess.extract.command import run_extraction
from preprocess.extract.extraction_plan import ExtractionParameters
from preprocess.extract.settings import ExtractionSettings
from shared.errors import DataError, UsageError
from shared.manifests.files import read_manifests
from shared.terminal.console import exit_code_of
from shared.video.resizing import FrameSize
from shared.video.shape import ClipShape
from shared.video.streams import VideoError
from train.cli import app
from train.data.views import Views, candidate_rows, parse_views
from train.predict.answering import answer_all
from train.predict.inputs import Input, find_inputs
from train.predict.output import Answer, bar, print_answers, write_answers
from train.predict.videos import ClipRequest, DecodedVideo, decode_all, decode_video
from train.trained.answers import ranked
from train.trained.clips import stored_probabilities
from train.trained.folders import find_run


def _found(arguments: list[str]) -> list[Input]:
    return list(find_inputs(arguments).videos)


SHAPE = ClipShape(num_segments=4, frames_per_segment=1, size=FrameSize(height=24, width=32))


def request_of(path: Path) -> ClipRequest:
    return ClipRequest(path=path, shape=SHAPE)


# Inputs


def test_inputs_are_files_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.avi", "a/deep/2.MP4", "a/.hidden.avi", "a/notes.txt", "b[1].avi", "-c.avi", "empty/x.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert [each.name for each in _found(["a"])] == ["a/1.avi", "a/deep/2.MP4"]
    assert _found(["b[1].avi"]) == [Input(name="b[1].avi")]  # a file, although it reads like a pattern
    assert [each.name for each in _found(["*.avi"])] == ["-c.avi", "b[1].avi"]
    assert [each.name for each in _found([str(tmp_path / "a" / "**" / "*.[aM]*")])] == [
        str(tmp_path / "a/1.avi"),
        str(tmp_path / "a/deep/2.MP4"),
    ]
    assert _found(["gone.avi"]) == [Input(name="gone.avi")]  # decoding says what is wrong with it
    for nothing in ("empty", "*.mkv"):
        (found,) = _found([nothing])
        assert found.name == nothing and found.error


def test_run_is_a_path_or_a_name(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "one")
    make_run(tmp_path / "runs" / "many" / "split2", split="2")
    runs = tmp_path / "runs"
    assert find_run("one", runs=runs) == find_run(str(runs / "one"), runs=tmp_path / "nowhere") == runs / "one"
    assert find_run("many/split2", runs=runs) == runs / "many" / "split2"
    with pytest.raises(DataError, match="there are many, one"):
        find_run("two", runs=runs)


@pytest.mark.parametrize("text", ["3", "0x1", "1x0", "x", "1x1x1", "-1x2", "1000x1"])
def test_views_are_checked(text: str) -> None:
    with pytest.raises(UsageError, match="--views"):
        parse_views(text)


def test_candidates_are_spread_evenly() -> None:
    def candidates(count: int, per_segment: int) -> list[int]:
        rows = candidate_rows(Views(num_candidates=count), num_segments=2, frames_per_segment=per_segment)
        assert (rows[:, 1] - rows[:, 0] == per_segment).all()
        return [int(row) for row in rows[:, 0]]

    assert candidates(1, 1) == [0]
    assert candidates(1, 3) == [1]
    assert candidates(2, 3) == [0, 2]
    assert candidates(3, 3) == [0, 1, 2]
    assert candidates(3, 5) == [0, 2, 4]
    with pytest.raises(UsageError, match="hold 1"):
        candidates(2, 1)


# Decoding


def test_decoding_apart_gives_the_same_frames(ffmpeg: str, tmp_path: Path) -> None:
    paths = [make_video(tmp_path / f"{i}.avi", *HMDB_LIKE, num_frames=9 + i, size="64x48") for i in range(3)]
    apart = list(decode_all([request_of(path) for path in paths], num_workers=2))
    for path, clip in zip(paths, apart, strict=True):
        assert isinstance(clip, DecodedVideo)
        assert np.array_equal(clip.frames, decode_video(request_of(path)).frames)


def test_a_crash_and_a_hang_cost_one_video_each() -> None:
    requests = [request_of(Path(name)) for name in ("1", "crash", "2", "hang", "corrupt", "3")]
    results = list(decode_all(requests, num_workers=2, timeout_seconds=10.0, decode=decode_by_name))
    assert [str(result) for result in results if isinstance(result, VideoError)] == [
        "decoding crashed (SIGKILL)",
        "decoding took longer than 10 s",
        "corrupt",
    ]
    assert [int(result.frames[0]) for result in results if isinstance(result, DecodedVideo)] == [1, 2, 3]


def test_nothing_is_left_running_when_the_reader_stops(ffmpeg: str, tmp_path: Path) -> None:
    import multiprocessing

    path = make_video(tmp_path / "a.avi", *HMDB_LIKE, num_frames=9, size="64x48")
    decoded = decode_all([request_of(path)] * 5, num_workers=2)
    next(decoded)
    decoded.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


# Answers


@pytest.fixture(scope="module")
def video_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of two classes, of two shapes, extracted at 24x32 with T=4 and K=3."""
    folder = tmp_path_factory.mktemp("videos")
    for index, (name, size) in enumerate(
        [("jump/a", "64x48"), ("jump/b", "80x48"), ("run/c", "64x48"), ("run/d", "48x64")]
    ):
        make_video(folder / "videos" / f"{name}.avi", *HMDB_LIKE, num_frames=3 + 11 * index, size=size)
    settings = ExtractionSettings(
        videos=folder / "videos",
        shards=folder / "shards",
        manifests=folder / "manifests",
        parameters=ExtractionParameters(size="24x32", num_segments=4, frames_per_segment=3),
        num_workers=1,
    )
    run_extraction(settings)
    return folder


@pytest.mark.parametrize("views", [Views(), Views(num_candidates=3, num_crops=3)], ids=str)
def test_raw_files_give_the_probabilities_of_the_stored_clips(
    ffmpeg: str, video_set: Path, tmp_path: Path, views: Views
) -> None:
    frame = read_manifests(video_set / "manifests")
    dataset_id = json.loads((video_set / "manifests/dataset.json").read_text())["dataset_id"]
    loaded = make_run(tmp_path / "run", class_names=("jump", "run"), dataset_id=dataset_id)
    inputs = [Input(name=str(video_set / "videos" / path)) for path in frame["path"]]
    answers = answer_all(loaded, inputs, views=views, batch_size=3, num_workers=2)
    stored = stored_probabilities(loaded, frame, shards=video_set / "shards", views=views, batch_size=2)
    predicted = np.stack([answer.probabilities for answer in answers if answer.probabilities is not None])
    np.testing.assert_allclose(predicted, stored, rtol=0, atol=1e-5)
    assert np.ptp(stored, axis=0).min() > 1e-3  # the clips do differ
    np.testing.assert_allclose(predicted.sum(axis=1), 1.0, atol=1e-12)


def test_real_clips_give_the_probabilities_of_their_stored_clips(real_videos: Path, tmp_path: Path) -> None:
    settings = ExtractionSettings(
        videos=real_videos / "hmdb51",
        shards=tmp_path / "shards",
        manifests=tmp_path / "manifests",
        parameters=ExtractionParameters(size="48x64", num_segments=16),
        num_workers=2,
    )
    dataset = run_extraction(settings)
    assert dataset is not None and dataset.num_clips == 5
    loaded = make_run(
        tmp_path / "run",
        config=small_config(num_classes=5, num_frames=16),
        class_names=dataset.class_names,
        dataset_id=dataset.dataset_id,
        frames_per_segment=1,
        height=48,
        width=64,
    )
    frame = read_manifests(tmp_path / "manifests")
    stored = stored_probabilities(loaded, frame, shards=tmp_path / "shards", views=Views(), batch_size=5)
    inputs = _found([str(real_videos / "hmdb51")])
    answers = answer_all(loaded, inputs, views=Views(), batch_size=2, num_workers=2)
    predicted = np.stack([answer.probabilities for answer in answers if answer.probabilities is not None])
    np.testing.assert_allclose(predicted, stored, rtol=0, atol=1e-5)
    assert np.ptp(stored, axis=0).max() > 1e-2


def test_one_broken_video_does_not_cost_the_others(ffmpeg: str, video_set: Path, tmp_path: Path) -> None:
    loaded = make_run(tmp_path / "run", class_names=("jump", "run"))
    (tmp_path / "text.avi").write_text("no video")
    (tmp_path / "zero.avi").touch()
    good = str(video_set / "videos/jump/a.avi")
    names = [str(tmp_path / "text.avi"), good, str(tmp_path / "zero.avi"), str(tmp_path / "gone.avi"), good]
    inputs = [*(Input(name=name) for name in names), Input(name="*.mkv", error="matches nothing")]
    answers = answer_all(loaded, inputs, views=Views(), batch_size=2, num_workers=2)
    assert [answer.video for answer in answers] == [*names, "*.mkv"]
    assert [bool(answer.error) for answer in answers] == [True, False, True, True, False, True]
    first, second = answers[1].probabilities, answers[4].probabilities
    assert first is not None and second is not None
    np.testing.assert_allclose(first, second, atol=1e-9)


def test_a_model_that_has_diverged_gives_errors(ffmpeg: str, video_set: Path, tmp_path: Path) -> None:
    loaded = make_run(tmp_path / "run", class_names=("jump", "run"))
    torch.nn.init.constant_(loaded.model.head.weight, float("nan"))
    (answer,) = answer_all(
        loaded, [Input(name=str(video_set / "videos/jump/a.avi"))], views=Views(), batch_size=1, num_workers=1
    )
    assert answer.probabilities is None and "NaN" in answer.error
    frame = read_manifests(video_set / "manifests")
    dataset_id = json.loads((video_set / "manifests/dataset.json").read_text())["dataset_id"]
    loaded = dataclasses.replace(loaded, facts=dataclasses.replace(loaded.facts, dataset_id=dataset_id))
    with pytest.raises(DataError, match="NaN"):
        stored_probabilities(loaded, frame, shards=video_set / "shards", views=Views(), batch_size=2)


# Output


def test_bars_and_order() -> None:
    assert [bar(share, cells=2) for share in (0.0, 1 / 16, 0.5, 9 / 16, 1.0)] == ["", "▏", "█", "█▏", "██"]
    assert ranked(np.array([0.2, 0.5, 0.2, 0.1])) == [1, 0, 2, 3]


def test_table_shows_the_top_and_takes_names_literally(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [
        Answer(video="[red]x.avi", probabilities=np.array([0.25, 0.7, 0.05])),
        Answer(video="bad\udcff.avi", error="corrupt"),
    ]
    print_answers(answers, CLASSES, top=2, title="by [bold]me")
    out, err = capsys.readouterr()
    assert "by [bold]me" in out and "[red]x.avi" in out
    assert "70.00 %" in out and "25.00 %" in out and "5.00 %" not in out.replace("25.00 %", "")
    assert "bad\ufffd.avi: corrupt" in err and "1 of 2 videos gave no answer" in err


def test_csv_in_both_forms(tmp_path: Path) -> None:
    answers = [
        Answer(video="v/b,1.avi", probabilities=np.array([0.25, 0.7, 0.05])),
        Answer(video="v/broken.avi", error="corrupt"),
    ]
    path = tmp_path / "out.csv"
    assert write_answers(path, answers, CLASSES, form="probabilities") == 2
    rows = list(csv.DictReader(path.open()))
    assert list(rows[0]) == ["video", "action", "probability", "error", *CLASSES]
    assert rows[0]["video"] == "v/b,1.avi" and rows[0]["action"] == "run"
    assert [float(rows[0][name]) for name in CLASSES] == [0.25, 0.7, 0.05]
    assert rows[1]["error"] == "corrupt" and rows[1]["action"] == ""
    assert write_answers(path, answers, CLASSES, form="competition") == 1
    assert path.read_text() == 'id,class\n"b,1",run\n'


def test_command_line(ffmpeg: str, video_set: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "one", class_names=("jump", "run"))
    clip = (video_set / "videos/run/c.avi").read_bytes()
    for name in ("-n [1].avi", "a:b.avi"):
        (tmp_path / name).write_bytes(clip)
    (tmp_path / "bad.avi").write_text("x")
    words = ("predict", "one", "-n [1].avi", "a:b.avi", "bad.avi", "--json", "--top", "1")
    result = run("lsvit-train", *words, cwd=tmp_path, installed=True)
    assert result.code == 1, result.err
    first, second, third = json.loads(result.out)
    assert [first["video"], second["video"]] == ["-n [1].avi", "a:b.avi"]
    shares = [each["probability"] for each in first["predictions"]]
    assert len(shares) == 2 and shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-9)
    assert {each["action"] for each in first["predictions"]} == {"jump", "run"}
    assert set(third) == {"video", "error"} and third["video"] == "bad.avi"
    # Out of RUN as a path, one video, the table, a file of the competition's form.
    result = run(
        "lsvit-train", "predict", "runs/one", "a:b.avi", "--csv", "o.csv", "--csv-format", "competition", cwd=tmp_path
    )
    assert result.code == 0, result.err
    assert "%" in result.out and "synthetic" in result.out and "wrote 1 video to o.csv" in result.out
    assert (tmp_path / "o.csv").read_text().startswith("id,class\na:b,")
    # CSV for other programs: standard output holds nothing else.
    result = run("lsvit-train", "predict", "one", "a:b.avi", "bad.avi", "--csv", "/dev/stdout", cwd=tmp_path)
    good, bad = csv.DictReader(result.out.splitlines())
    assert (result.code, good["video"], bad["video"]) == (1, "a:b.avi", "bad.avi") and bad["error"]
    assert "synthetic" in result.err and "wrote 2 videos to /dev/stdout" in result.err


def test_command_line_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "one", config=small_config())
    for arguments, code, text in (
        (["one", "x.avi", "--jsn"], 2, "--jsn"),
        (["one", "x.avi", "--top", "0"], 2, "--top"),
        (["one", "x.avi", "--json", "--csv", "/dev/stdout"], 2, "both write to standard output"),
        (["one", "x.avi", "--csv", "/dev/fd/999"], 1, "/dev/fd/999 is no open file; name a file"),
        (["none", "x.avi"], 1, "there are one"),
    ):
        command = partial(app, ["predict", *arguments], standalone_mode=False)
        assert exit_code_of(command) == code
        out, err = capsys.readouterr()
        assert out == "" and text in err
