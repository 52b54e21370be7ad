"""docs/python.md: every example runs, and every name of the door is there."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from commands import succeed
from made_dataset import CLASSES, make_dataset
from made_run import make_run
from media import HMDB_LIKE, make_video

import hmdb51_lsvit
from shared.splits.parts import part_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """What the examples need, at the default places: made data, a made run and two videos."""
    folder = tmp_path_factory.mktemp("small")
    made = make_dataset(folder / "made")
    made.shards.rename(folder / "shards")
    (folder / "data").mkdir()
    (folder / "shards").rename(folder / "data" / "shards")
    made.manifests.rename(folder / "data_manifests")
    make_run(folder / "runs" / "mine")
    for index, name in enumerate(CLASSES):
        make_video(folder / "data" / "videos" / name / "v.avi", *HMDB_LIKE, num_frames=20 + index)
    return folder


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same made by the commands that the page names, on the embedded data set."""
    folder = tmp_path_factory.mktemp("embedded")
    succeed("hmdb-prep", "synth", "--clips", "48", "--classes", "4", cwd=folder)
    succeed("hmdb-prep", "extract", "--frames-per-segment", "3", "--size", "96x128", cwd=folder)
    words = ["--preset", "tiny", "--epochs", "1", "--img-size", "64", "--device", "cpu"]
    succeed("lsvit-train", "run", "--split", "full", "--name", "mine", *words, cwd=folder)
    return folder


def run_examples(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Run the examples, one after the other as a reader does; returns the names that they define."""
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"__name__": "examples"}
    for text in examples():
        exec(compile(text, str(PAGE), "exec"), names)
    return names


def check(names: dict[str, object], *, num_frames: int) -> None:
    """Look at what the examples have left."""
    clips, dataset, answers = names["clips"], names["dataset"], names["answers"]
    assert isinstance(clips, pd.DataFrame)
    assert isinstance(dataset, hmdb51_lsvit.ClipDataset)
    assert len(dataset) < len(part_of(clips, split="full", part="train"))  # without the validation part
    assert names["batch"].shape[1] == num_frames  # type: ignore[attr-defined]
    assert 0 <= names["accuracy"] <= 1  # type: ignore[operator]
    assert names["loss"].isfinite()  # type: ignore[attr-defined]
    assert isinstance(answers, list)
    assert names["probabilities"] == pytest.approx(answers[0].probabilities, abs=1e-6)
    assert names["default"].frames.shape == (16, 224, 304, 3)  # type: ignore[attr-defined]
    assert names["square"].frames.dtype == torch.uint8  # type: ignore[attr-defined]


def test_the_examples_run(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(run_examples(small, monkeypatch), num_frames=4)


@pytest.mark.slow
def test_the_examples_run_on_the_embedded_data(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(run_examples(embedded, monkeypatch), num_frames=16)


def test_every_name_is_on_the_page() -> None:
    named = set(re.findall(r"`(\w+)", PAGE.read_text().split("The examples need")[0]))
    assert set(hmdb51_lsvit.__all__) <= named


def test_the_foreign_model_is_short() -> None:
    (text,) = [text for text in examples() if "Conv3d" in text]
    assert len([line for line in text.splitlines() if line]) <= 20
