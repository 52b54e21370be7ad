"""The road through both programs: after each command the one that comes next, with the folders that were given."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.shards.places import DEFAULT_CACHE, DEFAULT_CACHE_GB, RemoteShards, ShardsPlace
from shared.terminal.console import write_out

DEFAULT_SHARDS = Path("data/shards")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Folders, by the names of their options; the values are those that commands take when nothing is given."""

    videos: Path = Path("data/videos")
    shards: ShardsPlace = DEFAULT_SHARDS
    manifests: Path = Path("data_manifests")
    runs: Path = Path("runs")


_NEXT = {
    "doctor": "hmdb-prep synth",
    "synth": "hmdb-prep extract",
    "fetch": "hmdb-prep extract",
    "extract": "hmdb-prep eda",
    "merge": "hmdb-prep eda",
    "verify": "hmdb-prep eda",
    "eda": "hmdb-prep balance",
    "balance": "lsvit-train run",
    "embed": "hmdb-prep balance",
    "run": "lsvit-train evaluate",
    "probe": "lsvit-train evaluate",
    "evaluate": "lsvit-train explain",
    "predict": "lsvit-train explain",
}
_TAKES = {
    "hmdb-prep synth": (),
    "hmdb-prep extract": ("videos", "shards", "manifests"),
    "hmdb-prep eda": ("shards", "manifests"),
    "hmdb-prep balance": ("shards", "manifests"),
    "lsvit-train run": ("shards", "manifests", "runs"),
    "lsvit-train evaluate": ("runs", "shards", "manifests"),
    "lsvit-train explain": ("runs", "videos", "shards", "manifests"),
}


def next_command(after: str, words: Sequence[str] = (), *, places: Places) -> str:
    """The command line that follows the command ``after``, quoted for a shell. words: its arguments and options."""
    command = _NEXT[after]
    names = _TAKES[command]
    if command.startswith("hmdb-prep") and isinstance(places.shards, RemoteShards):  # which reads folders alone
        names = tuple(name for name in names if name != "shards")
    return shlex.join([*command.split(), *words, *folder_options(places, names)])


def folder_options(places: Places, names: Sequence[str] = ("shards", "manifests")) -> list[str]:
    """The options, as words of a command, that name those of the folders that are not the usual ones."""
    given = {name: getattr(places, name) for name in names}
    words = [
        word for name, path in given.items() if path != getattr(Places(), name) for word in (f"--{name}", str(path))
    ]
    return words + (_cache_options(places.shards) if "shards" in names else [])


def _cache_options(shards: ShardsPlace) -> list[str]:
    """The options on copies of shards at an address that are not the usual ones."""
    if not isinstance(shards, RemoteShards):
        return []
    given = {
        "--shard-cache": (str(shards.cache), DEFAULT_CACHE),
        "--shard-cache-gb": (shards.cache_gb, DEFAULT_CACHE_GB),
    }
    return [word for name, (value, usual) in given.items() if value != usual for word in (name, f"{value}")]


def say_next(after: str, words: Sequence[str] = (), *, places: Places) -> None:
    """Print it on standard error: standard output ends with what was written where, and may be read by a program."""
    say_next_line(next_command(after, words, places=places))


def say_next_line(command: str) -> None:
    """The same for a command that is already made. It is never broken into lines, so that it can be pasted."""
    write_out(f"next: {command}", to=sys.stderr)
