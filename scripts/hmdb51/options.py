"""What is written behind ``make hmdb51``: variables such as SOURCE=hmdb51_org.rar, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.hmdb51.roads import ROADS
from shared.errors import UsageError
from shared.video.resizing import parse_size

AUTO = "auto"
SIZE = "224x304"
_DEFAULTS = {"size": SIZE}  # of commands, which need not be given
_OTHERS = ("VENV", "PYTHON", "CONSTRAINTS")  # make's own, for scripts/setup


@dataclass(frozen=True, kw_only=True)
class Options:
    """The variables, by their names in small letters. Empty: as the recipe or the command has it."""

    source: str = ""
    """Archive, address or folder. Empty: what the run was begun with, or the videos that are there."""
    name: str = ""
    road: str = AUTO
    splits: str = "1,2,3"
    init: str = ""
    epochs: str = ""
    seed: str = ""
    size: str = ""
    workers: str = ""
    videos: str = "data/videos"
    shards: str = "data/shards"
    manifests: str = "data_manifests"
    runs: str = "runs"

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits, each a digit."""
        return tuple(self.splits.split(","))


def parse(words: Sequence[str]) -> Options:
    """Read NAME=value words. Raises UsageError for one that is unknown or has a value that cannot be."""
    known = [field.name.upper() for field in dataclasses.fields(Options)]
    values: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name in _OTHERS:
            continue
        if name not in known:
            raise UsageError(f"make hmdb51 has no variable {name!r}; there are {', '.join(known)}")
        values[name.lower()] = value
    options = Options(**{name: value for name, value in values.items() if value and value != _DEFAULTS.get(name)})
    _check(options)
    return options


def _check(options: Options) -> None:
    if options.road != AUTO and options.road not in ROADS:
        raise UsageError(f"ROAD is {options.road!r}; it must be one of {', '.join((AUTO, *ROADS))}")
    splits = options.split_names
    if not set(splits) <= {"1", "2", "3"} or len(set(splits)) < len(splits):
        raise UsageError(f"SPLITS is {options.splits!r}; name official splits, such as 1,2,3 or 1, each once")
    for name in ("epochs", "seed", "workers"):
        value = getattr(options, name)
        if value and not (value.isascii() and value.isdigit()):
            raise UsageError(f"{name.upper()} is {value!r}; it must be a whole number")
    if parse_size(options.size or SIZE, fit="crop") is None:
        raise UsageError("SIZE is native, but clips of different sizes cannot be trained on together; write HxW")
    if options.name and Path(options.name).name != options.name:
        raise UsageError(f"NAME is {options.name!r}; it must be one folder name, without slashes")
