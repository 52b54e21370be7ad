"""The embedded data set: plan, names, files, and what happens to folders."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedGroupKFold

from preprocess.synth.actions import ACTIONS
from preprocess.synth.command import _how_to_continue, find_spec, synthesize
from preprocess.synth.encode import ClipJob, encode, write_clip
from preprocess.synth.scene import render_clip
from preprocess.synth.specs import (
    DIFFICULTIES,
    MAX_CLASSES,
    ClipSpec,
    Difficulty,
    SetParameters,
    class_counts,
    clip_specs,
)
from preprocess.synth.stage import camera_path
from shared.classes import HMDB51_CLASSES
from shared.errors import DataError, UsageError
from shared.splits.sources import parse_name
from shared.video.listing import is_synthetic, list_videos
from shared.video.streams import OpenVideo

DEFAULT = clip_specs(SetParameters())
SMALL = {"num_clips": 8, "num_classes": 4, "seed": 3}
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs the ffprobe and ffmpeg commands")


def one_of(class_name: str, difficulty: Difficulty = "plain") -> ClipSpec:
    specs = clip_specs(SetParameters(num_classes=MAX_CLASSES, difficulty=difficulty))
    return next(spec for spec in specs if spec.class_name == class_name and spec.num_frames >= 40 and not spec.close_up)


def test_classes_are_hmdb51s_and_walk_leads() -> None:
    assert set(ACTIONS) <= set(HMDB51_CLASSES)
    assert len(ACTIONS) >= 16
    for num_classes in range(2, MAX_CLASSES + 1):
        counts = class_counts(1000, num_classes)
        assert next(iter(counts)) == "walk"
        assert max(counts, key=lambda name: counts[name]) == "walk"
        assert sum(counts.values()) == 1000
        assert num_classes < 4 or {"sit", "stand"} <= set(counts)
        assert counts.get("stand", counts["sit"]) == counts["sit"]


@pytest.mark.parametrize("num_classes", [10, MAX_CLASSES])
def test_counts_have_a_head_and_a_tail(num_classes: int) -> None:
    counts = list(class_counts(400, num_classes).values())
    median = float(np.median(counts))
    assert 2.5 <= counts[0] / median <= 4.0
    assert 0.25 <= min(counts) / median <= 0.4
    assert min(counts) >= 4
    assert Counter(spec.class_name for spec in DEFAULT) == class_counts(400, 10)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"num_classes": MAX_CLASSES + 1}, "--classes 21"), ({"num_classes": 1}, "--classes 1"),
        ({"num_clips": 19}, "--clips 19"), ({"seed": -1}, "--seed -1"), ({"difficulty": "hard"}, "'hard'"),
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_wrong_usage(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        clip_specs(SetParameters(**wrong))


def test_plan_is_a_function_of_its_parameters() -> None:
    assert clip_specs(SetParameters()) == DEFAULT
    assert clip_specs(SetParameters(seed=1)) != DEFAULT


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_names_tell_the_truth(difficulty: Difficulty) -> None:
    specs = clip_specs(SetParameters(num_classes=MAX_CLASSES, difficulty=difficulty))
    assert len({spec.clip_id for spec in specs}) == len(specs)
    for spec in specs:
        tags = parse_name(spec.stem, class_name=spec.class_name)
        assert tags.source == spec.source.name
        assert (tags.body, tags.num_people, tags.quality) == ("u" if spec.close_up else "f", "1", spec.quality)
        still = bool((camera_path(spec) == camera_path(spec)[0]).all())
        assert tags.camera_motion == ("nm" if still else "cm")
        assert tags.viewpoint == spec.view
        assert (spec.blur > 0) == (spec.quality != "goo")
    moving = {spec.camera_moves for spec in specs}
    assert moving == ({False} if difficulty == "plain" else {False, True})


@pytest.mark.parametrize("seed", range(4))
def test_a_split_by_source_leaves_every_class_on_both_sides(seed: int) -> None:
    specs = clip_specs(SetParameters(seed=seed))
    labels, groups = [s.class_name for s in specs], [s.source.name for s in specs]
    assert len(set(groups)) >= 40
    assert all(len({s.class_name for s in specs if s.source.name == group}) >= 3 for group in set(groups))
    folds = StratifiedGroupKFold(n_splits=10, shuffle=True, random_state=0).split(labels, labels, groups)
    test = np.concatenate([held_out for (_, held_out), _ in zip(folds, range(3), strict=False)])
    test_labels = {labels[index] for index in test}
    train_labels = {label for index, label in enumerate(labels) if index not in set(test)}
    assert test_labels == train_labels == set(labels)


def test_lengths_are_mostly_two_seconds_with_a_few_too_short() -> None:
    lengths = np.array([spec.num_frames for spec in clip_specs(SetParameters(num_clips=2000))])
    assert 0.005 < (lengths < 16).mean() < 0.045
    assert lengths[lengths >= 16].min() >= 20
    assert 55 <= np.median(lengths) <= 65
    assert lengths.max() <= 110
    suffixes = Counter(spec.suffix for spec in DEFAULT)
    assert 0.1 < suffixes[".mp4"] / len(DEFAULT) < 0.2


@needs_ffmpeg
@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mpeg4"), (".mp4", "h264")])
def test_videos_hold_every_frame_and_b_frames(tmp_path: Path, suffix: str, codec: str) -> None:
    frames = render_clip(replace(one_of("cartwheel"), num_frames=31))
    path = tmp_path / f"clip{suffix}"
    path.write_bytes(encode(torch.from_numpy(frames), suffix=suffix))
    probe = ["ffprobe", "-v", "error", "-select_streams", "v", "-of", "json", "-show_entries"]
    probe += ["stream=codec_name,r_frame_rate:frame=pict_type", str(path)]
    facts = json.loads(subprocess.run(probe, capture_output=True, check=True).stdout)
    kinds = Counter(frame["pict_type"] for frame in facts["frames"])
    assert facts["streams"][0] == {"codec_name": codec, "r_frame_rate": "30/1"}
    assert kinds["B"] >= 3
    assert kinds.total() == 31
    decoded = torch.stack([frame.picture for frame in OpenVideo(path).read_frames()]).numpy()
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 4.0


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_the_same_frames_give_the_same_bytes(suffix: str) -> None:
    """With x264's macroblock tree about half of these encodes differ: smooth pictures that move."""
    corners = torch.rand((1, 3, 6, 8), generator=torch.Generator().manual_seed(0))
    picture = torch.nn.functional.interpolate(corners, size=(280, 360), mode="bicubic")[0].permute(1, 2, 0)
    picture = (255 * picture).clamp(0, 255).to(torch.uint8)
    frames = torch.stack([picture[step : step + 240, step : step + 320] for step in range(40)])
    held, contents = [], set()
    for attempt in range(16):
        contents.add(encode(frames, suffix=suffix))
        held.append(torch.rand(977 * (attempt + 1)))  # the next one lies elsewhere in memory
    assert len(contents) == 1


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_the_shortest_videos_keep_their_frames(tmp_path: Path, num_frames: int) -> None:
    for suffix in (".avi", ".mp4"):
        path = tmp_path / f"clip{suffix}"
        path.write_bytes(encode(torch.zeros(num_frames, 240, 320, 3, dtype=torch.uint8), suffix=suffix))
        assert len(list(OpenVideo(path).read_frames())) == num_frames


def test_a_folder_is_made_kept_and_continued(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    summary = synthesize(folder, **SMALL, num_workers=2)
    assert (summary.num_written, summary.num_kept, summary.num_clips) == (8, 0, 8)
    videos = list_videos(folder).videos
    assert Counter(video.class_name for video in videos) == summary.counts
    assert summary.num_bytes == sum(video.num_bytes for video in videos)
    assert is_synthetic(folder)
    marker = json.loads((folder / "synthetic.json").read_text())
    assert marker == {"generator": "hmdb-prep synth", "version": 2, "difficulty": "plain", **SMALL}

    victim = folder / videos[2].path
    content = victim.read_bytes()
    victim.unlink()
    (victim.parent / ".tmp-0123456789ab-half.avi").write_bytes(b"half")
    again = synthesize(folder, **SMALL, num_workers=1)
    assert (again.num_written, again.num_kept) == (1, 7)
    assert victim.read_bytes() == content
    assert not list(folder.rglob(".tmp-*"))
    spec = find_spec(folder, videos[2].clip_id)
    assert spec.path == videos[2].path
    with pytest.raises(DataError, match="nobody"):
        find_spec(folder, "walk/nobody")
    with pytest.raises(DataError, match="seed 3 there, 4 wanted"):
        synthesize(folder, **{**SMALL, "seed": 4})
    (folder / "walk" / "mine.avi").write_bytes(b"x")
    with pytest.raises(DataError, match=r"walk/mine\.avi"):
        synthesize(folder, **SMALL)


def test_frame_folders_are_other_videos_too(tmp_path: Path) -> None:
    (tmp_path / "walk" / "real").mkdir(parents=True)
    (tmp_path / "walk" / "real" / "0001.jpg").touch()
    with pytest.raises(DataError, match="walk/real for one"):
        synthesize(tmp_path, **SMALL)
    assert not is_synthetic(tmp_path)


def test_other_videos_are_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "walk").mkdir()
    (tmp_path / "walk" / "real.avi").write_bytes(b"x")
    with pytest.raises(DataError, match=r"walk/real\.avi"):
        synthesize(tmp_path, **SMALL)
    assert not is_synthetic(tmp_path)
    with pytest.raises(DataError, match="is a file"):
        synthesize(tmp_path / "walk" / "real.avi", **SMALL)
    with pytest.raises(DataError, match=r"no synthetic\.json"):
        find_spec(tmp_path, "walk/real")


@pytest.mark.parametrize("content", ["", "[1]", '{"generator": "hmdb-prep synth"}', '{"num_clips": "8"}'])
def test_a_damaged_marker_is_said_to_be(tmp_path: Path, content: str) -> None:
    (tmp_path / "synthetic.json").write_text(content)
    with pytest.raises(DataError, match="damaged"):
        synthesize(tmp_path, **SMALL)


def test_a_failed_write_leaves_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    spec = replace(one_of("walk"), num_frames=2)
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_clip(ClipJob(spec=spec, destination=tmp_path))
    assert not (tmp_path / spec.path).exists()


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_only_whole_videos(tmp_path: Path, kill: signal.Signals) -> None:
    code = (
        "import sys; from pathlib import Path; from preprocess.synth.command import synthesize\n"
        "synthesize(Path(sys.argv[1]), num_clips=200, num_workers=2)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.rglob("*.avi"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(kill)
    assert process.wait(timeout=60) != 0
    time.sleep(2)
    videos = list_videos(tmp_path).videos
    assert 5 <= len(videos) < 200
    for video in videos:
        spec = find_spec(tmp_path, video.clip_id)
        assert len(list(OpenVideo(tmp_path / video.path).read_frames())) == spec.num_frames


def test_what_is_there_is_said_in_the_number_that_it_has(tmp_path: Path) -> None:
    assert _how_to_continue(tmp_path, DEFAULT[:1]).startswith("0 of 1 video is complete in")
    assert _how_to_continue(tmp_path, DEFAULT[:2]).startswith("0 of 2 videos are complete in")
    (tmp_path / DEFAULT[0].path).parent.mkdir()
    (tmp_path / DEFAULT[0].path).touch()
    assert _how_to_continue(tmp_path, DEFAULT[:2]).startswith("1 of 2 videos is complete in")
