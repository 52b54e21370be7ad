"""What the user calls videos: files, folders and patterns, into single files."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.videos import VIDEO_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class Input:
    """One video to answer for."""

    name: str
    """As the user wrote it, or as it was found in a folder or by a pattern."""
    error: str = ""
    """Why there is no video by this name."""


def find_inputs(arguments: Sequence[str]) -> list[Input]:
    """Take files as they are, folders as all videos below them and patterns (``*``, ``?``, ``[``) as what they match.

    A file that exists is that file, whatever characters it is made of. Videos of a folder or pattern are sorted; hidden
    ones are left out. An argument that gives nothing becomes an Input with an error.
    """
    return [found for argument in arguments for found in _find(argument)]


def _find(argument: str) -> list[Input]:
    path = Path(argument)
    if path.is_dir():
        names = _videos_below(path)
        return names or [Input(name=argument, error=f"no videos in this folder ({', '.join(sorted(VIDEO_SUFFIXES))})")]
    if path.exists() or not glob.has_magic(argument):
        return [Input(name=argument)]
    matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
    found = [
        each
        for match in matches
        for each in (_videos_below(Path(match)) if Path(match).is_dir() else [Input(name=match)])
    ]
    return found or [Input(name=argument, error="no such file, and as a pattern it matches no video")]


def _videos_below(folder: Path) -> list[Input]:
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return [Input(name=str(path)) for path in files]
