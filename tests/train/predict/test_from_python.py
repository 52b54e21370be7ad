"""Models and predictions in programs of users: the numbers of `lsvit-train predict`, and errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import succeed_here
from made_run import make_run
from media import HMDB_LIKE, make_video

from shared.errors import DataError, UsageError
from shared.video.decoding import decode_clip
from shared.video.shape import DEFAULT_SHAPE, ClipShape
from train.learn.processes import choose_device
from train.predict.from_python import Prediction, TrainedModel, load_model, predict
from train.trained.model import load_model as from_checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """A folder with a run ``made`` and two videos, of one of which nothing decodes."""
    folder = tmp_path_factory.mktemp("place")
    make_run(folder / "runs" / "made")
    make_video(folder / "videos" / "a.avi", *HMDB_LIKE, num_frames=20)
    make_video(folder / "videos" / "b.avi", *HMDB_LIKE, num_frames=9, size="160x120")
    (folder / "broken.avi").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def model(place: Path) -> TrainedModel:
    return load_model("made", runs=place / "runs", device="cpu")


def test_probabilities_are_those_of_the_command(place: Path, model: TrainedModel) -> None:
    words = ["predict", "made", "--runs", place / "runs", place / "videos", "--json", "--device", "cpu"]
    expected = json.loads(succeed_here("lsvit-train", *words))
    found = predict(model, place / "videos")
    assert [each.video for each in found] == [each["video"] for each in expected]
    for each, other in zip(found, expected, strict=True):
        assert list(each.probabilities) == [one["action"] for one in other["predictions"]]
        assert list(each.probabilities.values()) == pytest.approx([one["probability"] for one in other["predictions"]])
        assert sum(each.probabilities.values()) == pytest.approx(1)
        assert each.action == other["predictions"][0]["action"]
        assert each.probability == max(each.probabilities.values())
        assert each.error == ""


def test_the_parts_of_a_model_give_the_same(place: Path, model: TrainedModel) -> None:
    itself, classes, preprocessing = model
    assert itself is model
    assert not model.training
    clips = [decode_clip(place / "videos" / name, preprocessing.shape).frames for name in ("a.avi", "b.avi")]
    with torch.inference_mode():
        shares = model(preprocessing(torch.stack(clips))).softmax(dim=1)
        alone = model(preprocessing(clips[1])[None]).softmax(dim=1)[0]
    expected = predict(model, [place / "videos" / "a.avi", str(place / "videos" / "b.avi")], batch_size=1)
    for row, each in zip(shares, expected, strict=True):
        assert dict(zip(classes, row.tolist(), strict=True)) == pytest.approx(each.probabilities, abs=1e-6)
    assert alone.tolist() == pytest.approx(shares[1].tolist(), abs=1e-6)


def test_a_video_that_fails_costs_only_itself(place: Path, model: TrainedModel) -> None:
    good, broken, absent = predict(model, [place / "videos" / "a.avi", place / "broken.avi", place / "absent.avi"])
    assert good.probabilities
    assert broken == Prediction(video=str(place / "broken.avi"), probabilities={}, error=broken.error)
    assert "not a video" in broken.error
    assert "no such file" in absent.error
    assert (absent.action, absent.probability) == ("", 0.0)


def test_processes_that_decode_give_the_same(place: Path, model: TrainedModel) -> None:
    one, other = (predict(model, place / "videos", workers=workers) for workers in (0, 2))
    assert one == other


def test_what_is_wrong_is_said(place: Path, model: TrainedModel) -> None:
    with pytest.raises(UsageError, match="predict got a LSViT; give it the model that load_model gave"):
        predict(model.network, "a.avi")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="batch_size is 0"):
        predict(model, "a.avi", batch_size=0)
    with pytest.raises(UsageError, match="--views"):
        predict(model, "a.avi", views="0x1")
    with pytest.raises(DataError, match=r"no run with a checkpoint at other .* there are made"):
        load_model("other", runs=place / "runs")


def test_a_device_is_the_one_that_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for absent in ("cuda:0", "cuda:x", "gpu", ""):
        with pytest.raises(UsageError, match=f"device is '{absent}'; here it must be one of auto, cpu, cuda, mps$"):
            load_model("made", runs=place / "runs", device=absent)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=r"mps, cuda:0, cuda:1$"):
        load_model("made", runs=place / "runs", device="cuda:2")
    devices: list[torch.device] = []
    found = from_checkpoint(place / "runs" / "made")
    monkeypatch.setattr("train.trained.model.load_model", lambda folder, *, device: devices.append(device) or found)
    load_model("made", runs=place / "runs", device="cuda:1")
    assert devices == [torch.device("cuda", 1)]
    with pytest.raises(UsageError, match="the device is 'cuda:1'"):
        choose_device("cuda:1")


def test_a_clip_has_the_shape_that_extract_stores_by_default(place: Path) -> None:
    size = DEFAULT_SHAPE.size
    assert size is not None
    frames = decode_clip(str(place / "videos" / "b.avi")).frames
    assert frames.shape == (DEFAULT_SHAPE.num_rows, size.height, size.width, 3)
    help_text = succeed_here("hmdb-prep", "extract", "--help")
    assert f"{size.height}x{size.width}" in help_text
    assert ClipShape(num_segments=16, frames_per_segment=1, size=size) == DEFAULT_SHAPE
