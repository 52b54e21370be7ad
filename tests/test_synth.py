"""The embedded data set: plan, movement, drawing, names, files, and what happens to folders."""

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
from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedGroupKFold

from preprocess.synth import (
    MAX_CLASSES,
    ClipSpec,
    SetParameters,
    class_counts,
    clip_specs,
    figure_boxes,
    find_spec,
    is_synthetic,
    render_clip,
    synthesize,
)  # fmt: skip
from preprocess.synth_actions import ACTIONS
from preprocess.synth_encode import ClipJob, encode, write_clip
from preprocess.synth_plan import DIFFICULTIES, Difficulty
from preprocess.synth_scene import _seen, background_of, draw_rod
from preprocess.synth_stage import MAX_SHIFT_X, MAX_SHIFT_Y, MIN_ZOOM, Rod, camera_path, clip_movement, to_frame
from shared.classes import HMDB51_CLASSES, find_videos, parse_name
from shared.decoding import OpenVideo
from shared.errors import DataError, UsageError

DEFAULT = clip_specs(SetParameters())
ALL_CLASSES = clip_specs(SetParameters(num_classes=MAX_CLASSES))
SMALL = {"num_clips": 8, "num_classes": 4, "seed": 3}
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs the ffprobe and ffmpeg commands")


def quiet(spec: ClipSpec) -> ClipSpec:
    return replace(spec, noise=0.0, blur=0, camera_moves=False)


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


@pytest.mark.parametrize(("first", "second"), [("sit", "stand"), ("throw", "catch")])
def test_pairs_differ_in_the_arrow_of_time_only(first: str, second: str) -> None:
    for spec in [s for s in DEFAULT if s.class_name == first][:8]:
        forwards, backwards = clip_movement(spec), clip_movement(replace(spec, class_name=second))
        assert np.array_equal(forwards.joints[::-1], backwards.joints)
        assert np.abs(forwards.joints - backwards.joints).max() > 0.05
        for mine, other in zip(forwards.props, backwards.props, strict=True):
            assert np.array_equal(mine.start[::-1], other.start)
            assert np.array_equal(mine.end[::-1], other.end)
    frames = render_clip(quiet(replace(one_of(first), num_frames=24)))
    reverse = render_clip(quiet(replace(one_of(first), num_frames=24, class_name=second)))
    assert np.array_equal(frames[::-1], reverse)
    assert ACTIONS[first].views == ACTIONS[second].views


def test_only_the_pairs_are_reversals_of_each_other() -> None:
    joints = {name: clip_movement(replace(one_of("walk"), class_name=name)).joints for name in ACTIONS}
    reversals = {(a, b) for a in joints for b in joints if a < b and np.allclose(joints[a][::-1], joints[b], atol=1e-3)}
    same = {(a, b) for a in joints for b in joints if a < b and np.allclose(joints[a], joints[b], atol=0.02)}
    assert reversals == {("sit", "stand"), ("catch", "throw")}
    assert not same


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_rendering_is_a_function_of_the_spec(difficulty: Difficulty) -> None:
    spec = replace(one_of("run", difficulty), num_frames=3)
    frames = render_clip(spec)
    assert frames.shape == (3, 240, 320, 3)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames, render_clip(spec))
    assert not np.array_equal(frames, render_clip(replace(spec, index=spec.index + 1)))


@pytest.mark.parametrize("class_name", ["walk", "pushup", "cartwheel", "jump"])
def test_boxes_hold_the_figure_and_nothing_else(class_name: str) -> None:
    spec = replace(quiet(one_of(class_name)), num_frames=20)
    empty = _seen(background_of(spec), np.array([0.0, 0.0, 1.0]))
    boxes = figure_boxes(spec)
    assert boxes.shape == (20, 4)
    for frame, box in zip(render_clip(spec), boxes, strict=True):
        rows, columns = np.nonzero(np.abs(np.moveaxis(frame, -1, 0) - empty).max(axis=0) > 12)
        found = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
        assert np.abs(found - box).max() <= 2.5


def test_plain_figures_fill_a_good_share_of_the_picture() -> None:
    boxes = [figure_boxes(spec) for spec in DEFAULT if spec.class_name == "walk" and not spec.close_up]
    heights = np.array([(box[:, 3] - box[:, 1]).mean() / 240 for box in boxes])
    assert heights.min() > 0.5
    assert heights.max() < 0.95


def test_a_rod_covers_its_area() -> None:
    def area(start: tuple[float, float], end: tuple[float, float], radius: float) -> float:
        image = np.zeros((3, 120, 160), np.float32)
        color = np.ones((1, 3))
        radii = np.full(1, radius)
        rod = Rod(
            start=np.array([start]), end=np.array([end]), start_radius=radii, end_radius=radii, color=color, depth=radii
        )
        draw_rod(image, rod, 0)
        return float(image[0].sum())

    assert area((60.3, 50.6), (60.3, 50.6), 12.0) == pytest.approx(np.pi * 144, rel=0.01)
    assert area((40.2, 30.9), (100.2, 75.9), 6.0) == pytest.approx(np.pi * 36 + 2 * 6 * 75, rel=0.01)
    assert area((-50.0, -50.0), (-40.0, -40.0), 6.0) == 0.0


@pytest.mark.parametrize("camera", [(0.0, 0.0, 1.0), (20.0, -9.0, 1.1), (-MAX_SHIFT_X, MAX_SHIFT_Y, MIN_ZOOM)])
def test_the_camera_moves_background_and_figure_alike(camera: tuple[float, float, float]) -> None:
    point = np.array([[100.0, 150.0]])
    background = background_of(one_of("walk")) * 0
    border_y, border_x = (background.shape[1] - 240) // 2, (background.shape[2] - 320) // 2
    background[:, border_y + 150, border_x + 100] = 1.0
    seen = _seen(background, np.array(camera))[0]
    rows, columns = np.mgrid[:240, :320]
    centre = np.array([(columns * seen).sum(), (rows * seen).sum()]) / seen.sum()
    assert np.abs(centre - to_frame(point, np.array([camera]))[0]).max() < 0.51


def test_a_moving_camera_never_sees_beyond_the_background() -> None:
    for difficulty in ("moving", "cluttered"):
        for spec in clip_specs(SetParameters(difficulty=cast(Difficulty, difficulty)))[::7]:
            background = np.zeros_like(background_of(DEFAULT[0]))
            background[:, 1:-1, 1:-1] = 1.0
            shown = [_seen(background, camera).min() for camera in camera_path(spec)[:: max(1, spec.num_frames // 4)]]
            assert min(shown) == 1.0


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
    decoded = torch.stack(list(OpenVideo(path).read_frames())).numpy()
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 4.0


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
    videos = find_videos(folder)
    assert Counter(video.class_name for video in videos) == summary.counts
    assert summary.num_bytes == sum(video.num_bytes for video in videos)
    assert is_synthetic(folder)
    marker = json.loads((folder / "synthetic.json").read_text())
    assert marker == {"generator": "hmdb-prep synth", "version": 1, "difficulty": "plain", **SMALL}

    victim = folder / videos[2].path
    content = victim.read_bytes()
    victim.unlink()
    (victim.parent / "half.avi.partial").write_bytes(b"half")
    again = synthesize(folder, **SMALL, num_workers=1)
    assert (again.num_written, again.num_kept) == (1, 7)
    assert victim.read_bytes() == content
    assert not list(folder.rglob("*.partial"))
    spec = find_spec(folder, videos[2].clip_id)
    assert spec.path == videos[2].path
    with pytest.raises(DataError, match="nobody"):
        find_spec(folder, "walk/nobody")
    with pytest.raises(DataError, match="seed 3 there, 4 wanted"):
        synthesize(folder, **{**SMALL, "seed": 4})
    (folder / "walk" / "mine.avi").write_bytes(b"x")
    with pytest.raises(DataError, match=r"walk/mine\.avi"):
        synthesize(folder, **SMALL)


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
        "import sys; from pathlib import Path; from preprocess.synth import synthesize\n"
        "synthesize(Path(sys.argv[1]), num_clips=200, num_workers=2)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.rglob("*.avi"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(kill)
    assert process.wait(timeout=60) != 0
    time.sleep(2)
    videos = find_videos(tmp_path)
    assert 5 <= len(videos) < 200
    for video in videos:
        spec = find_spec(tmp_path, video.clip_id)
        assert len(list(OpenVideo(tmp_path / video.path).read_frames())) == spec.num_frames
