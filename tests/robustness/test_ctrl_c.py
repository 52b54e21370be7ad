"""Ctrl-C at many moments, once to three times: one line, exit code 130, and nothing is left behind."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import succeed
from made_dataset import make_dataset
from made_hmdb51 import small_vit
from made_run import make_run
from pressing import Pressed, press
from trained import training_words

MOMENTS = (0.05, 0.2, 0.5, 0.8, 1.2, 1.8, 2.5, 3.5, 5.0)  # seconds from the first line of the program
PRESSES = ((1, 0.0), (2, 0.0), (3, 0.0), (2, 0.2), (3, 0.3))  # how many times, and seconds between two of them
Words = tuple[str, list[str | Path]]


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hundred small videos, six of them different."""
    folder = tmp_path_factory.mktemp("many")
    succeed("hmdb-prep", "synth", folder / "made", "--clips", "6", "--classes", "2")
    for index in range(50):
        for video in sorted((folder / "made").glob("*/*.*")):
            link = folder / "videos" / video.parent.name / f"{index:02d}_{video.name}"
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(video, link)
    return folder / "videos"


def synth(tmp_path: Path, videos: Path) -> Words:
    return "hmdb-prep", ["synth", tmp_path / "synth", "--clips", "400"]


def extract(tmp_path: Path, videos: Path) -> Words:
    places = ["--videos", videos, "--shards", tmp_path / "shards", "--manifests", tmp_path / "manifests"]
    return "hmdb-prep", ["extract", *places, "--size", "64", "--clips-per-shard", "8"]


def fetch(tmp_path: Path, videos: Path) -> Words:
    return "hmdb-prep", ["fetch", videos, tmp_path / "fetched"]


def run(tmp_path: Path, videos: Path) -> Words:
    made = make_dataset(tmp_path / "data")
    return "lsvit-train", [*training_words(made, tmp_path / "runs", "one", epochs=100000)]


def probe(tmp_path: Path, videos: Path) -> Words:
    made = make_dataset(tmp_path / "data")
    weights = small_vit(tmp_path / "random.pth")
    places = ["--shards", made.shards, "--manifests", made.manifests, "--runs", tmp_path / "runs"]
    options = ["--img-size", "16", "--epochs", "1000000", "--batch-size", "4", "--device", "cpu"]
    return "lsvit-train", ["probe", "--init", weights, *places, *options]


def evaluate(tmp_path: Path, videos: Path) -> Words:
    made = make_dataset(tmp_path / "data", clips_per_class=160)
    make_run(tmp_path / "runs" / "one")
    places = ["--shards", made.shards, "--manifests", made.manifests, "--runs", tmp_path / "runs"]
    return "lsvit-train", ["evaluate", "one", *places, "--device", "cpu", "--views", "3x3"]


def predict(tmp_path: Path, videos: Path) -> Words:
    make_run(tmp_path / "runs" / "one")
    return "lsvit-train", ["predict", "one", videos, "--runs", tmp_path / "runs", "--device", "cpu"]


def check(pressed: Pressed, folder: Path) -> None:
    """One line says it, and neither files nor processes nor links are left that nobody wants."""
    lines = pressed.err.splitlines()
    said = [line for line in lines if line.startswith("interrupted")]
    assert "Traceback" not in pressed.err, pressed.err
    assert pressed.code in (0, 130), pressed.err
    assert len(said) == (pressed.code == 130), pressed.err
    assert not said or said == lines[-1:], pressed.err
    assert not pressed.left
    pending = [path for pattern in (".tmp-*", ".*.tmp", ".fetch-partial") for path in folder.rglob(pattern)]
    assert not pending


@pytest.mark.slow
@pytest.mark.parametrize("command", [synth, extract, fetch, run, probe, evaluate, predict])
def test_ctrl_c_at_many_moments(command: Callable[[Path, Path], Words], many_videos: Path, tmp_path: Path) -> None:
    codes = []
    for index, moment in enumerate(MOMENTS):
        folder = tmp_path / str(index)
        folder.mkdir()
        times, apart = PRESSES[index % len(PRESSES)]
        program, words = command(folder, many_videos)
        pressed = press(program, words, after=moment, times=times, apart=apart)
        print(f"{command.__name__} {moment} s, {times} times: {pressed.code} {pressed.err.strip()}")
        check(pressed, folder)
        codes.append(pressed.code)
        shutil.rmtree(folder)
    assert codes[:2] == [130, 130]


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(
    ("command", "sign", "note"),
    [
        (synth, "synth/*/*.avi", r"\d+ of 400 videos (is|are) complete in \S+; the same command continues"),
        (extract, "shards/shard-*.h5", r"[1-9]\d* of 38 shards (is|are) complete in \S+; the same command continues"),
        (
            run,
            "runs/one/checkpoints/last.pt",
            r"\S+/one is saved .*; continue with `lsvit-train run --name one",
        ),
        (probe, "runs/*/frame_features.h5", r".* the same command with --resume continues"),
    ],
)
def test_what_was_saved_and_how_to_go_on(
    command: Callable[[Path, Path], Words], sign: str, note: str, times: int, many_videos: Path, tmp_path: Path
) -> None:
    program, words = command(tmp_path, many_videos)
    pressed = press(program, words, after=0.3, sign=(tmp_path, sign), times=times)
    check(pressed, tmp_path)
    assert pressed.code == 130
    assert re.match(f"interrupted: {note}", pressed.err.splitlines()[-1]), pressed.err
