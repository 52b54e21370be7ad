"""lsvit-train predict and explain on folders of numbered pictures, and what they say of everything else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import run, succeed
from made_run import make_run
from media import HMDB_LIKE, dump_frames, make_video

from shared.manifests.left_out import LeftOut
from shared.video.listing import list_videos
from train.data.views import Views
from train.predict.answering import answer_all
from train.predict.inputs import Input, find_inputs, shared_ids


def _make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def dumped(ffmpeg: str, tmp_path: Path) -> Path:
    """``test/1.5`` and ``test/2``, dumps of ``1.5.avi`` and ``2.avi``, and a run called ``one``; the working folder."""
    make_run(tmp_path / "runs" / "one", class_names=("jump", "run"))
    for name, count in (("1.5", 30), ("2", 3)):
        dump_frames(
            make_video(tmp_path / f"{name}.avi", *HMDB_LIKE, num_frames=count, size="64x48"), tmp_path / "test" / name
        )
    return tmp_path


def test_inputs_are_frame_folders_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _make(
        tmp_path, "t/1/1.jpg", "t/1/2.jpg", "t/1/cover.jpg", "t/10/a1.png", "t/2/x.avi", "t/2/shot 1.png", "t/.3/1.jpg"
    )
    _make(tmp_path, "t/1/flow/1.jpg", "t/notes.txt", "t/1/Thumbs.db")
    (tmp_path / "t" / "link").symlink_to(tmp_path / "t")
    found = find_inputs(["t"])
    assert [each.name for each in found.videos] == ["t/1", "t/10", "t/2/x.avi"]
    assert sorted((row.path, row.reason) for row in found.left_out) == [
        ("t/.3", "hidden"),
        ("t/1/cover.jpg", "picture without a number"),
        ("t/1/flow/1.jpg", "too deep"),
        ("t/2/shot 1.png", "picture outside a clip's folder"),
        ("t/link", "link to a folder"),
        ("t/notes.txt", "no video by its suffix"),
    ]
    assert find_inputs(["t/1/"]).videos == (Input(name="t/1"),)
    assert [each.name for each in find_inputs(["t/*"]).videos] == ["t/1", "t/10", "t/2/x.avi", *_through_link()]


def test_inputs_are_what_extract_takes(tmp_path: Path) -> None:
    _make(tmp_path, "elsewhere/1.png", "v/jump/thumb01.png", "v/jump/clip1/1.png", "v/jump/clip1/2.png", "v/run/x.mp4")
    _make(tmp_path, "v/run/x/1.png", "v/run/x/2.png", "v/run/y/1.png", "v/run/y/2.png", "v/run/y/flow/1.png")
    (tmp_path / "v" / "run" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "v" / "run" / "up").symlink_to(tmp_path)
    found, listing = find_inputs([str(tmp_path / "v")]), list_videos(tmp_path / "v")
    names = ["jump/clip1", "run/link", "run/x.mp4", "run/y"]
    assert [each.name for each in found.videos] == [str(tmp_path / "v" / name) for name in names]
    assert [video.path for video in listing.videos] == names
    reasons = {row.path: row.reason for row in listing.left_out}
    assert {str(Path(row.path).relative_to(tmp_path / "v")): row.reason for row in found.left_out} == reasons
    assert [each.name for each in find_inputs([str(tmp_path / "v" / "jump")]).videos] == [
        str(tmp_path / "v" / "jump" / "clip1")
    ]


def _through_link() -> list[str]:
    return ["t/link/1", "t/link/10", "t/link/2/x.avi", "t/notes.txt"]  # a pattern's matches are what the user named


def test_a_folder_without_videos_says_so_and_what_it_holds(tmp_path: Path) -> None:
    _make(tmp_path, "a.txt", "cover.jpg")
    found = find_inputs([str(tmp_path)])
    assert "nor numbered pictures" in found.videos[0].error
    assert found.left_out == (
        LeftOut(path=str(tmp_path / "a.txt"), reason="no video by its suffix"),
        LeftOut(path=str(tmp_path / "cover.jpg"), reason="picture outside a clip's folder"),
    )


def test_ids_that_several_videos_share(tmp_path: Path) -> None:
    videos = ["a/1.avi", "b/1.mp4", "c/2.avi", "c/3.avi", "d/3.avi"]
    assert shared_ids(videos) == {"1": ["a/1.avi", "b/1.mp4"], "3": ["c/3.avi", "d/3.avi"]}
    assert shared_ids(["1.avi", "2.avi"]) == {}
    assert shared_ids(["a/1.avi", "./a/1.avi", "a/1.avi"]) == {}


@pytest.mark.parametrize("views", [Views(), Views(num_candidates=3, num_crops=3)], ids=str)
def test_png_dumps_have_the_probabilities_of_their_videos(dumped: Path, views: Views) -> None:
    loaded = make_run(dumped / "run", class_names=("jump", "run"))
    names = [str(dumped / name) for name in ("1.5.avi", "2.avi", "test/1.5", "test/2")]
    answers = answer_all(loaded, [Input(name=name) for name in names], views=views, batch_size=1, num_workers=2)
    shares = [answer.probabilities for answer in answers if answer.probabilities is not None]
    assert len(shares) == 4
    assert np.array_equal(shares[0], shares[2]) and np.array_equal(shares[1], shares[3])
    assert not np.array_equal(shares[0], shares[1])


def test_png_dumps_of_real_clips_have_their_probabilities(real_videos: Path, tmp_path: Path) -> None:
    loaded = make_run(tmp_path / "run")
    videos = sorted((real_videos / "hmdb51").rglob("*.avi"))[:3]
    dumps = [dump_frames(video, tmp_path / video.stem) for video in videos]
    inputs = [Input(name=str(each)) for each in (*videos, *dumps)]
    answers = answer_all(loaded, inputs, views=Views(), batch_size=1, num_workers=2)
    shares = [answer.probabilities for answer in answers if answer.probabilities is not None]
    assert len(shares) == 6
    assert all(np.array_equal(one, other) for one, other in zip(shares[:3], shares[3:], strict=True))


def test_a_folder_of_frame_folders_gives_id_and_class(dumped: Path) -> None:
    (dumped / "test" / "notes.txt").touch()
    options = ("--csv", "out.csv", "--csv-format", "competition", "--json")
    outcome = run("lsvit-train", "predict", "one", "test", *options, cwd=dumped)
    assert outcome.code == 0, outcome.err
    answers = json.loads(outcome.out)  # nothing else is on standard output
    assert [each["video"] for each in answers] == ["test/1.5", "test/2"]
    best = [each["predictions"][0]["action"] for each in answers]
    assert (dumped / "out.csv").read_text() == f"id,class\n1.5,{best[0]}\n2,{best[1]}\n"
    assert "left out: 1 no video by its suffix (test/notes.txt)" in outcome.err


def test_equal_ids_of_a_competition_are_said(dumped: Path) -> None:
    (dumped / "test" / "more").mkdir()
    (dumped / "2.avi").rename(dumped / "test" / "more" / "2.avi")
    arguments = ("lsvit-train", "predict", "one", "test", "--csv", "out.csv")
    said = succeed(*arguments, "--csv-format", "competition", cwd=dumped)
    assert "note: 1 id of out.csv may stand in several rows: 2 is test/2 and test/more/2.avi" in said
    assert (dumped / "out.csv").read_text().count("\n2,") == 2
    assert "several rows" not in succeed(*arguments, cwd=dumped)


def test_one_frame_folder_is_explained(dumped: Path) -> None:
    (dumped / "test" / "1.5" / "00007.png").unlink()
    said = succeed("lsvit-train", "explain", "one", "test/1.5", cwd=dumped)
    assert "1 number missing between its pictures 00001.png and 00030.png, 7 first" in said
    assert len(list((dumped / "runs" / "one" / "explanations" / "1.5").glob("*/index.html"))) == 1


@pytest.mark.parametrize("address", ["http://host/x.mp4", "https://host/x.mp4?a=[1]", "s3://bucket/x.avi"])
def test_addresses_are_no_videos(address: str) -> None:
    (video,) = find_inputs([address]).videos
    assert (video.name, video.error) == (address, "an address; videos are files: download it first")
