"""Fault storms on extraction, marked ``stress``: kills, mutated files, full disks. Run with `make test-stress`."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import command_line, fail, run, succeed
from extraction import content, kill_and_continue, places
from media import HMDB_LIKE, make_video, real_video_files
from small_disk import mounted_disk

from shared.manifests.files import read_manifests, read_quarantine

pytestmark = pytest.mark.stress


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """320 videos in 8 classes, and 8 files that are none."""
    folder = tmp_path_factory.mktemp("many")
    originals = [make_video(folder / f"{n}.avi", *HMDB_LIKE, num_frames=16 + 9 * n) for n in range(5)]
    for index in range(320):
        target = (
            folder / "videos" / f"class{index % 8}" / f"src{index // 8}_class{index % 8}_f_nm_np1_fr_goo_{index}.avi"
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(originals[index % 5], target)
    for index in range(8):
        (folder / "videos" / f"class{index}" / "broken.avi").write_bytes(b"RIFF" + bytes(200))
    return folder / "videos"


def test_twenty_kills_lose_and_double_nothing(many_videos: Path, tmp_path: Path) -> None:
    options = ("--clips-per-shard", "8", "--workers", "2")
    succeed("hmdb-prep", "extract", "--videos", many_videos, *places(tmp_path / "whole"), *options)
    met = kill_and_continue(many_videos, tmp_path / "killed", kills=20, options=options, seconds=(0.3, 6.0))
    assert met >= 10, "the kills came too late to mean anything"
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    frame = read_manifests(tmp_path / "killed" / "manifests")
    assert len(frame) == frame["clip_id"].nunique() == 320
    assert len(read_quarantine(tmp_path / "killed" / "manifests")) == 8
    succeed("hmdb-prep", "verify", *places(tmp_path / "killed"))


def mutate(data: bytes, other: bytes, *, draw: random.Random) -> bytes:
    """Flip bits, cut, splice with another file, repeat or delete a piece: one of them, or two."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2))):
        kind = draw.randrange(5)
        start = draw.randrange(len(changed))
        length = draw.choice((1, 16, 400, len(changed) // 3))
        if kind == 0:
            for _ in range(draw.choice((1, 10, 1000))):
                changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed[max(1, start) :]
        elif kind == 2:
            place = draw.randrange(len(other))
            changed[start : start + length] = other[place : place + length]
        elif kind == 3:
            changed[start:start] = changed[start : start + length]
        else:
            del changed[start : start + min(length, len(changed) - 1)]
    return bytes(changed)


def test_mutated_real_files_end_as_clip_or_quarantine_row(tmp_path: Path) -> None:
    originals = real_video_files()
    if not originals:
        pytest.skip("no real clips")
    draw = random.Random(51)
    num_files = int(os.environ.get("NUM_MUTATED_FILES", "300"))
    for index in range(num_files):
        original = originals[index % len(originals)]
        target = tmp_path / "videos" / f"class{index % 5}" / f"{index:05d}{original.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(mutate(original.read_bytes(), draw.choice(originals).read_bytes(), draw=draw))
    options = ("--timeout", "60", "--size", "56x76", "--workers", "2")
    outcome = run("hmdb-prep", "extract", "--videos", tmp_path / "videos", *places(tmp_path), *options, timeout=3000)
    assert outcome.code == 0, outcome.err
    assert "Traceback" not in outcome.err
    clips = set(read_manifests(tmp_path / "manifests")["path"])
    quarantine = read_quarantine(tmp_path / "manifests")
    assert len(clips) + len(quarantine) == num_files
    assert not clips & set(quarantine["path"])
    print(f"\n{num_files} mutated files: {len(clips)} clips, quarantined {dict(Counter(quarantine['stage']))}")
    succeed("hmdb-prep", "verify", *places(tmp_path))


# Processes that outlive their parent are handed to this one (36: PR_SET_CHILD_SUBREAPER), which thus counts them all.
# It is small itself: a new process counts as at least as large as the one that started it.
LARGEST_PROCESS = """
import ctypes, os, resource, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
try:
    while True: os.wait()
except ChildProcessError:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def largest_process(arguments: list[str]) -> float:
    """Run a command that must succeed; returns the memory of its largest process, workers included, in MiB."""
    command = [sys.executable, "-c", LARGEST_PROCESS, *arguments]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=2000).stdout)


@pytest.mark.usefixtures("ffmpeg")
def test_a_long_video_takes_little_memory(tmp_path: Path) -> None:
    """100,000 frames: kept, they would be 5800 MB as they are decoded and 20 GB as they are stored."""
    video = tmp_path / "videos" / "walk" / "long.avi"
    make_video(video, *HMDB_LIKE, "-g", "250", num_frames=100_000, size="160x120")
    for options in ((), ("--frames-per-segment", "41", "--overwrite")):
        words = ["extract", "--videos", tmp_path / "videos", *places(tmp_path), *options]
        peak = largest_process(command_line("hmdb-prep", words))
        assert read_manifests(tmp_path / "manifests")["num_frames"].tolist() == [100_000]
        print(f"\n100,000 frames, {' '.join(options[:2])}: largest process {peak:.0f} MiB")
        assert peak < 1536


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    with mounted_disk(tmp_path / "small", size="12m") as folder:
        yield folder


def test_a_disk_that_fills_up_loses_nothing(many_videos: Path, small_disk: Path, tmp_path: Path) -> None:
    """The check beforehand is evaded by a disk that others fill meanwhile: here by shards that are there already."""
    options = ("--clips-per-shard", "4", "--size", "64", "--workers", "1")
    succeed_places = ("--shards", str(small_disk / "shards"), "--manifests", str(tmp_path / "manifests"))
    error = fail(1, "hmdb-prep", "extract", "--videos", many_videos, *succeed_places, *options)
    assert "are needed" in error
    code = (
        "import preprocess.extract.command as e; e.shutil.disk_usage = lambda path: type('Disk', (), {'free': 10**12});"
        "from preprocess.cli import main; main()"
    )
    arguments = command_line("hmdb-prep", ["extract", "--videos", many_videos, *succeed_places, *options])[1:]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    finished = list((small_disk / "shards").glob("shard-*.h5"))
    assert finished
    assert not list((small_disk / "shards").glob(".*tmp"))
    subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
    succeed("hmdb-prep", "extract", "--videos", many_videos, *succeed_places, *options)
    assert len(read_manifests(tmp_path / "manifests")) == 320


def test_a_read_only_destination(many_videos: Path, small_disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    error = fail(
        1, "hmdb-prep", "extract", "--videos", many_videos, "--shards", small_disk / "s", "--manifests", tmp_path
    )
    assert "Read-only file system" in error
    options = ("--size", "32", "--shards", str(tmp_path / "shards"), "--manifests", str(small_disk / "m"))
    assert "Read-only file system" in fail(1, "hmdb-prep", "extract", "--videos", many_videos, *options)
    succeed("hmdb-prep", "extract", "--videos", many_videos, *options[:4], "--manifests", tmp_path / "m")
