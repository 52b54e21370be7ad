"""The variables of ``make hmdb51``, such as SOURCE=hmdb51_org.rar, checked; and the road, name and source they mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.hmdb51.journal import Journal, last_begun, read_journal
from scripts.hmdb51.roads import ROADS, Road, suiting_road
from shared.errors import DataError, UsageError
from shared.splits.parts import Part, part_of
from shared.video.resizing import parse_size

if TYPE_CHECKING:
    import pandas as pd

AUTO = "auto"
SIZE = "224x304"
_DEFAULTS = {"size": SIZE}  # of commands, which need not be given
_OTHERS = ("VENV", "PYTHON", "CONSTRAINTS")  # make's own, for scripts/setup
_SMALLEST_PATCH = 8  # of the ViTs in docs/model.md
_RANGES = {"epochs": (1, 10_000), "seed": (0, 2**32 - 1), "workers": (1, 1024)}


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


VARIABLES = tuple(field.name.upper() for field in dataclasses.fields(Options))
_FROM_ENVIRONMENT = tuple(name for name in VARIABLES if name != "NAME")  # which WSL sets to the machine's name


def parse(words: Sequence[str], environment: Mapping[str, str] | None = None) -> Options:
    """Read NAME=value words, and what they leave out, the run's name aside, from the environment.

    Raises UsageError for a word that is unknown or a value that cannot be.
    """
    values = {name: (environment or {}).get(name, "") for name in _FROM_ENVIRONMENT}
    for word in words:
        name, _, value = word.partition("=")
        if name in _OTHERS:
            continue
        if name not in VARIABLES:
            raise UsageError(f"make hmdb51 has no variable {name!r}; there are {', '.join(VARIABLES)}")
        values[name] = value
    given = {name.lower(): value for name, value in values.items() if value}
    options = Options(**{name: value for name, value in given.items() if value != _DEFAULTS.get(name)})
    _check(options)
    return options


def _check(options: Options) -> None:
    if options.road != AUTO and options.road not in ROADS:
        raise UsageError(f"ROAD is {options.road!r}; it must be one of {', '.join((AUTO, *ROADS))}")
    splits = options.split_names
    if not set(splits) <= {"1", "2", "3"} or len(set(splits)) < len(splits):
        raise UsageError(f"SPLITS is {options.splits!r}; name official splits, such as 1,2,3 or 1, each once")
    for name, (least, most) in _RANGES.items():
        value = getattr(options, name)
        if value and not (value.isascii() and value.isdigit() and len(value) < 20 and least <= int(value) <= most):
            raise UsageError(f"{name.upper()} is {value!r}; it must be a whole number from {least} to {most}")
    if parse_size(options.size or SIZE, fit="crop") is None:
        raise UsageError("SIZE is native, but clips of different sizes cannot be trained on together; write HxW")
    if options.name and (Path(options.name).name != options.name or options.name[0] in "-."):
        raise UsageError(
            f"NAME is {options.name!r}; it must be one folder name, without slashes, that begins with neither - nor ."
        )


def choose(options: Options, *, gpu: float) -> tuple[Options, Road, str]:
    """The options with a name, the road, and in words why this one. gpu: its memory in GB, 0 where there is none.

    A road that was begun is gone on with, whatever GPU is there now. Raises UsageError where another one is asked for
    under its name, and where the pictures are smaller than a patch.
    """
    begun = _begun(options)
    if begun is not None and options.road not in (AUTO, begun.road):
        raise UsageError(
            f"{options.name} was begun with ROAD={begun.road}, not {options.road}; leave ROAD out to go on with it, or "
            "choose another NAME"
        )
    if begun is not None:
        road, reason = ROADS[begun.road], "as it was begun"
    elif options.road != AUTO:
        road, reason = ROADS[options.road], "as ROAD says"
    else:
        found = f"the GPU has {gpu:.0f} GB" if gpu else "torch finds no GPU"
        road, reason = suiting_road(gpu), f"as {found}; ROAD={'|'.join(ROADS)} chooses another"
    _check_patch(options, _SMALLEST_PATCH if options.init else road.patch)
    return dataclasses.replace(options, name=options.name or _recipe_name(road)), road, reason


def _check_patch(options: Options, patch: int) -> None:
    size = parse_size(options.size or SIZE, fit="crop")
    if size is not None and min(size.height, size.width) < patch:
        raise UsageError(f"SIZE is {options.size}, smaller than a patch of the ViT; both sides need {patch} pixels")


def _begun(options: Options) -> Journal | None:
    """The journal of NAME, or without one of the road that was begun last under its recipe's name."""
    runs = Path(options.runs)
    if options.name:
        return read_journal(runs / options.name)
    roads = [road for road in ROADS.values() if options.road in (AUTO, road.name)]
    folder = last_begun([runs / _recipe_name(road) for road in roads])
    return None if folder is None else read_journal(folder)


def _recipe_name(road: Road) -> str:
    return str(road.settings()["name"])


def with_source(options: Options, begun: Journal | None) -> Options:
    """The options with a source: that of SOURCE, else what it was begun with, else the videos that are there.

    Raises UsageError where there is none of these, DataError where SOURCE is a path that does not exist.
    """
    source = options.source or (begun.source if begun else "")
    if not source and Path(options.videos).is_dir():
        source = options.videos
    if not source:
        raise UsageError(
            "SOURCE is missing; name the archive, its address or a folder: make hmdb51 SOURCE=hmdb51_org.rar"
        )
    is_path = "://" not in source and not source.startswith("hf:")
    was_fetched = begun is not None and any(each.stage == "fetch" and source in each.command for each in begun.finished)
    if is_path and not Path(source).expanduser().exists() and not was_fetched:
        raise DataError(f"there is nothing at SOURCE={source}; name an archive, an address or a folder of videos")
    return dataclasses.replace(options, source=source)


def check_training(options: Options, begun: Journal | None, now: Mapping[str, str]) -> None:
    """Raise UsageError where training was begun with something else under this name. now: of `settles_training`."""
    before = begun.trained_with if begun else {}
    changed = {name: old for name, old in before.items() if now[name] != old and (now[name] or name.isupper())}
    if changed:
        words = [f"{name}={old}" if name.isupper() else f"other content of {name}" for name, old in changed.items()]
        raise UsageError(
            f"{options.name} was begun with {', '.join(words)}; put it back, or choose another NAME= to train anew"
        )


def with_usable_splits(options: Options, clips: pd.DataFrame) -> tuple[Options, list[str]]:
    """The options with those splits alone that can be measured, and a sentence for each other one.

    Of half of the classes at least there must be clips to train on and clips to test on. clips: all manifest rows.
    Raises DataError where no split is left.
    """
    num_classes, usable, left_out = clips["class_name"].nunique(), [], []
    for split in options.split_names:
        parts: tuple[Part, ...] = ("train", "test")
        train, test = (part_of(clips, split=split, part=part)["class_name"].nunique() for part in parts)
        if 2 * min(train, test) >= num_classes:
            usable.append(split)
        else:
            text = f"of {num_classes} classes {train} have clips to train on and {test} to test on."
            left_out.append(f"Split {split} is left out: {text}")
    if not usable:
        raise DataError(f"no split can be measured: bring more of HMDB51's clips. {' '.join(left_out)}")
    return dataclasses.replace(options, splits=",".join(usable)), left_out
