"""Videos and shards for the benchmarks: hard links to a few originals, extracted by the command's own function."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from preprocess.extract.command import run_extraction
from preprocess.extract.extraction_plan import ExtractionParameters
from preprocess.extract.settings import ExtractionSettings
from shared.video.listing import VIDEO_SUFFIXES

REAL_VIDEOS = Path(os.environ.get("HMDB51_REAL_VIDEOS", Path(__file__).resolve().parents[2] / "shared" / "real"))


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """Where an extraction lies."""

    shards: Path
    manifests: Path


def videos_below(folder: Path) -> list[Path]:
    """Every video at or below a folder, sorted; none where there is no such folder."""
    return sorted(file for file in folder.rglob("*") if file.suffix in VIDEO_SUFFIXES)


def synthetic_videos(folder: Path, *, clips: int) -> list[Path]:
    """Videos of the embedded data set, rendered into ``folder`` by `hmdb-prep synth` unless they are there."""
    if not folder.exists():
        words = ["synth", str(folder), "--clips", str(clips), "--classes", str(min(10, clips // 2))]
        subprocess.run([str(Path(sys.executable).parent / "hmdb-prep"), *words], check=True, stdout=subprocess.DEVNULL)
    return videos_below(folder)[:clips]


def link_videos(originals: list[Path], folder: Path, *, count: int) -> Path:
    """Make ``folder/<class>/`` hold ``count`` videos: links to the originals in turn, copies where links cannot be."""
    shutil.rmtree(folder, ignore_errors=True)
    for index, original in enumerate(itertools.islice(itertools.cycle(originals), count)):
        target = folder / original.parent.name / f"{original.stem}-{index:05d}{original.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(original, target)
        except OSError:
            shutil.copy(original, target)
    return folder


def extract(
    videos: Path, folder: Path, *, workers: int, size: str = "224x304", frames_per_segment: int = 1
) -> Extracted:
    """What `hmdb-prep extract --overwrite` does, without its messages."""
    done = Extracted(shards=folder / "shards", manifests=folder / "manifests")
    settings = ExtractionSettings(
        videos=videos,
        shards=done.shards,
        manifests=done.manifests,
        parameters=ExtractionParameters(size=size, frames_per_segment=frames_per_segment),
        num_workers=workers,
        overwrite=True,
        strict=True,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        run_extraction(settings)
    return done
