"""docs/own-videos.md: its commands, in their order, on small made videos."""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path

import pytest
from commands import fail, succeed
from media import make_video

from shared.manifests.files import read_dataset, read_manifests
from train.run.checkpoint import read_checkpoint

PAGE = Path(__file__).parents[2] / "docs" / "own-videos.md"
CLASSES = ("jump", "run", "walk")
DAYS = {"20260501": "train", "20260502": "val", "20260503": "test", "20260504": "train"}
PRETRAINED = "runs/scratch"  # what stands for weights of the hub
SHORT = {
    "hmdb-prep extract": ("--size", "32x48", "--num-frames", "4"),
    "lsvit-train run": ("--epochs", "1", "--img-size", "32", "--embed-dim", "32", "--depth", "2", "--num-heads", "2"),
    "lsvit-train probe": ("--epochs", "1"),
}


def blocks() -> list[tuple[str, str]]:
    """Language and text of every block of the page that can be run."""
    return re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(), re.DOTALL)


def run_line(line: str, folder: Path) -> None:
    command, _, remark = line.partition("  # ")
    program, *words = shlex.split(re.sub(r"hf:\S+", PRETRAINED, command))
    words += SHORT.get(f"{program} {words[0]}", ())
    if remark == "refused":
        fail(1, program, *words, cwd=folder)
    else:
        succeed(program, *words, cwd=folder)


def small_video(path: Path, number: int) -> None:
    make_video(path, "-vf", f"hue=h={number * 40}", num_frames=6, size="64x48", rate="10")


@pytest.fixture
def folder(tmp_path: Path, ffmpeg: str) -> Path:
    """Videos of a phone, of UCF101's form, and numbered ones."""
    number = 0
    for name in CLASSES:
        for day in DAYS:
            for piece in (1, 2):
                number += 1
                small_video(tmp_path / "data" / "videos" / name / f"VID_{day}_10150{piece // 3}_{piece}.mp4", number)
        for stem in ("001", "002", "003"):
            small_video(tmp_path / "numbered" / name / f"{stem}.mp4", number)
    small_video(tmp_path / "new.mp4", 0)
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    for split in ("01", "02", "03"):
        parts: dict[str, list[str]] = {"train": [], "test": []}
        for label, name in enumerate(("Archery", "Biking"), start=1):
            for group in ("01", "02", "03"):
                path = f"{name}/v_{name}_g{group}_c01.avi"
                if split == "01":
                    small_video(tmp_path / "UCF-101" / path, int(group))
                is_test = group == split
                parts["test" if is_test else "train"].append(path if is_test else f"{path} {label}")
        for part, lines in parts.items():
            (lists / f"{part}list{split}.txt").write_text("\r\n".join(lines) + "\r\n")
    return tmp_path


@pytest.mark.slow
def test_every_command_of_the_page_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for language, text in blocks():
        if language == "python":
            exec(compile(text, str(PAGE), "exec"), {})
        else:
            for line in text.splitlines():
                run_line(line, folder)
    check_phone_videos(folder)
    check_ucf101(folder)
    numbered = read_manifests(folder / "data" / "numbered_manifests")
    assert numbered["source"].nunique() == len(numbered) == 9
    assert set(numbered["split1"]) == {"train", "test"}


def check_phone_videos(folder: Path) -> None:
    clips = read_manifests(folder / "data_manifests")
    assert len(clips) == 24 and clips["source"].nunique() == 4  # one recording a day
    for _, clip in clips.iterrows():
        day = str(clip["source"]).split("_")[1]
        assert (clip["split1"], clip["split2"], clip["split3"]) == (DAYS[day], "unused", "unused")
    assert set(clips["split_full"]) == {"train", "test"}
    facts = read_checkpoint(folder / "runs" / "mine" / "checkpoints" / "best.pt").facts
    kept = (folder / "runs" / "mine" / "splits.csv").read_bytes()
    assert facts.split_sha256 == hashlib.sha256(kept).hexdigest()
    # The run's file has become the table: what was given at first and what came back are the same.
    assert read_dataset(folder / "data_manifests").splits_sha256 == facts.split_sha256
    assert (folder / "data" / "shards" / "splits.csv").read_bytes() == kept
    succeed("hmdb-prep", "verify", cwd=folder)
    assert re.search(r"split1\s+val\s+6\s", succeed("hmdb-prep", "eda", cwd=folder))


def check_ucf101(folder: Path) -> None:
    clips = read_manifests(folder / "data" / "ucf101_manifests")
    for _, clip in clips.iterrows():
        assert clip["source"] == str(clip["clip_id"]).split("/")[1].removesuffix("_c01")
        group = str(clip["source"])[-1]
        assert [clip[f"split{k}"] for k in (1, 2, 3)] == ["test" if group == str(k) else "train" for k in (1, 2, 3)]
    assert (folder / "runs" / "ucf101" / "split3" / "evaluation" / "metrics.json").is_file()
