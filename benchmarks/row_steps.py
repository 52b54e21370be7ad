"""The steps that benchmarks.many_rows measures, each in a process of its own that imports nothing else."""

from __future__ import annotations

from pathlib import Path

from benchmarks.large_plan import made_videos
from shared.manifests.files import read_manifests
from shared.splits.defaults import assign_splits


def split_videos(count: int, classes: int) -> None:
    """What ``extract`` asks for before it decodes: four splits of videos that are sources of their own."""
    videos = made_videos(count, classes=classes, clips_per_source=1)
    names = [video.stem for video in videos]
    assign_splits([video.clip_id for video in videos], [video.class_name for video in videos], names)


def read_tables(folder: str) -> None:
    """What every command that needs the manifests does first."""
    assert len(read_manifests(Path(folder))) > 0
