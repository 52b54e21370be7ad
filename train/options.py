"""Options that several commands of lsvit-train share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from shared.errors import UsageError
from shared.next_command import Places
from shared.shards.places import DEFAULT_CACHE

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="A run: its folder, its name below --runs, or hf:REPO, a model of the hub.")
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of runs.")]
Shards = Annotated[str, typer.Option("--shards", help="Folder of shards, or its address, such as s3://bucket/shards.")]
ShardCache = Annotated[Path, typer.Option("--shard-cache", help="Folder for copies of shards that lie at an address.")]
ShardCacheGb = Annotated[
    float, typer.Option("--shard-cache-gb", help="Room for these copies, in GB; those used longest ago make room.")
]
Manifests = Annotated[Path, typer.Option("--manifests", help="Folder of manifests.")]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    typer.Option("--device", help="Where to compute; mps is the GPU of a Mac. auto: cuda where it is, else cpu."),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Clips at once.")]
ViewsText = Annotated[
    str,
    typer.Option("--views", metavar="CxS", help="Temporal candidates x spatial crops, averaged, such as 3x3."),
]
Calibrated = Annotated[
    bool, typer.Option("--calibrated", help="Probabilities by the temperature fitted on the run's validation clips.")
]

DEFAULT_RUNS = Places().runs
DEFAULT_VIDEOS = Places().videos
DEFAULT_SHARDS = str(Places().shards)
DEFAULT_SHARD_CACHE = Path(DEFAULT_CACHE)
DEFAULT_MANIFESTS = Places().manifests

# HMDB51 has videos whose names begin with a dash: what is no option is taken for one of them.
TAKES_VIDEOS = {"ignore_unknown_options": True}


def refuse_unknown_options(videos: Sequence[str], *, command: str) -> None:
    """Raise UsageError for a word that begins with a dash and names no video."""
    for video in videos:
        if video.startswith("-") and not Path(video).exists():
            raise UsageError(f"no such option or file: {video}; `lsvit-train {command} --help` lists the options")
