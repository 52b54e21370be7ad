"""Damaged videos of many codecs through `hmdb-prep extract`: each is a clip or a quarantine row, and nothing else dies.

A small sample in every test run, thousands with ``make test-stress``. FUZZ_SEED shifts the cases, FUZZ_CASES says how
many files (in extractions of 500).
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from commands import command_line, succeed
from extraction import places
from media import real_video_files
from mutations import mutate_bytes

from shared.manifests.files import read_manifests, read_quarantine

SEED = int(os.environ.get("FUZZ_SEED", "1000"))
NUM_FILES = int(os.environ.get("FUZZ_CASES", "2400"))
BATCH = 500
MEMORY_BYTES = 8 * 1024**3  # of address space, for each process: torch alone maps some of it
MADE = {
    "dx50.avi": ("-c:v", "mpeg4", "-bf", "2", "-vtag", "DX50"),
    "xvid.avi": ("-c:v", "mpeg4", "-vtag", "XVID"),
    "h264.mp4": ("-c:v", "libx264", "-bf", "2"),
    "h264.mkv": ("-c:v", "libx264"),
    "h264.flv": ("-c:v", "libx264"),
    "fragmented.mp4": ("-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov"),
    "mpeg2.ts": ("-c:v", "mpeg2video", "-bf", "2"),
    "mpeg1.mpg": ("-c:v", "mpeg1video"),
    "wmv2.wmv": ("-c:v", "wmv2"),
    "vp9.webm": ("-c:v", "libvpx-vp9"),
    "theora.ogv": ("-c:v", "libtheora"),
    "mjpeg.avi": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "raw.avi": ("-c:v", "rawvideo"),
    "hevc.mp4": ("-c:v", "libx265", "-x265-params", "log-level=error"),
}  # fmt: skip


def make_originals(folder: Path, *, names: tuple[str, ...], num_real: int) -> list[Path]:
    """Short and small: made ones of 7 to 20 frames, real ones cut to 12 without encoding them anew."""
    folder.mkdir(parents=True)
    for place, name in enumerate(names):
        source = f"testsrc2=size={64 + 16 * (place % 3)}x48:rate=25,noise=alls=12:allf=t:all_seed={place}"
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", str(7 + place)]
        subprocess.run([*command, *MADE[name], str(folder / name)], capture_output=True, check=False)
    for place, video in enumerate(real_video_files()[:num_real]):
        target = folder / f"real{place}{video.suffix}"
        command = ["ffmpeg", "-v", "error", "-i", f"file:{video}", "-map", "0:v:0", "-c", "copy", "-frames:v", "12"]
        subprocess.run([*command, str(target)], capture_output=True, check=False)
    return sorted(file for file in folder.iterdir() if file.stat().st_size)  # a build of FFmpeg may lack an encoder


def write_damaged(videos: Path, originals: list[Path], *, first: int, count: int) -> None:
    """File ``number`` is a function of its number and the originals alone."""
    for number in range(first, first + count):
        draw = random.Random(f"video {number}")
        original, other = originals[number % len(originals)], draw.choice(originals)
        target = videos / f"class{number % 5}" / f"{number:06d}_{original.stem}{original.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(mutate_bytes(original.read_bytes(), other.read_bytes(), draw=draw, header=2048))


def extract_all(videos: Path, folder: Path) -> Counter[str]:
    """Extract with limited memory; every file must be accounted for, and what is written must verify."""
    options = ["--videos", str(videos), *places(folder), "--timeout", "60", "--size", "32", "--workers", "2"]
    done = subprocess.run(
        command_line("hmdb-prep", ["extract", *options]),
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES)),
        timeout=3000,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    clips = set(read_manifests(folder / "manifests")["path"])
    quarantine = read_quarantine(folder / "manifests")
    assert not clips & set(quarantine["path"])
    assert len(clips) + len(quarantine) == len(list(videos.glob("*/*")))
    assert quarantine["error"].map(len).between(1, 400).all()
    succeed("hmdb-prep", "verify", *places(folder))
    return Counter({"clip": len(clips)}) + Counter(quarantine["stage"])


@pytest.mark.usefixtures("ffmpeg")
def test_a_sample(tmp_path: Path) -> None:
    originals = make_originals(tmp_path / "originals", names=("dx50.avi", "h264.mp4", "mpeg2.ts"), num_real=1)
    write_damaged(tmp_path / "videos", originals, first=0, count=48)
    outcomes = extract_all(tmp_path / "videos", tmp_path / "out")
    assert outcomes["clip"] and outcomes["open"] + outcomes["decode"], outcomes


@pytest.mark.stress
@pytest.mark.usefixtures("ffmpeg")
def test_thousands(tmp_path: Path) -> None:
    originals = make_originals(tmp_path / "originals", names=tuple(MADE), num_real=20)
    print(f"\noriginals: {', '.join(original.name for original in originals)}")
    total: Counter[str] = Counter()
    for first in range(SEED, SEED + NUM_FILES, BATCH):
        count = min(BATCH, SEED + NUM_FILES - first)
        write_damaged(tmp_path / "videos", originals, first=first, count=count)
        total += extract_all(tmp_path / "videos", tmp_path / f"out{first}")
        shutil.rmtree(tmp_path / "videos")
    assert sum(total.values()) == NUM_FILES
    print(f"{NUM_FILES} damaged videos from case {SEED}: {dict(total)}")
