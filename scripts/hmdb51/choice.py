"""Which road is taken, under which name, and from which source: what is asked for, was begun, or suits the machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.hmdb51.journal import Journal, last_begun, read_journal
from scripts.hmdb51.options import AUTO, Options
from scripts.hmdb51.roads import ROADS, Road, suiting_road
from shared.errors import DataError, UsageError
from shared.splits import Part, part_of

if TYPE_CHECKING:
    import pandas as pd


def choose(options: Options, *, gpu: float) -> tuple[Options, Road, str]:
    """The options with a name, the road, and in words why this one. gpu: its memory in GB, 0 where there is none.

    A road that was begun is gone on with, whatever GPU is there now. Raises UsageError where another one is asked for
    under its name.
    """
    begun = _begun(options)
    if begun is not None and options.road in (AUTO, begun.road):
        return _named(options, ROADS[begun.road]), ROADS[begun.road], "as it was begun"
    if begun is not None:
        raise UsageError(
            f"{options.name} was begun with ROAD={begun.road}, not {options.road}; leave ROAD out to go on with it, or "
            "choose another NAME"
        )
    if options.road != AUTO:
        return _named(options, ROADS[options.road]), ROADS[options.road], "as ROAD says"
    road = suiting_road(gpu)
    found = f"the GPU has {gpu:.0f} GB" if gpu else "torch finds no GPU"
    return _named(options, road), road, f"as {found}; ROAD={'|'.join(ROADS)} chooses another"


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
    options = dataclasses.replace(options, source=source)
    is_path = "://" not in source and not source.startswith("hf:")
    if is_path and not Path(source).expanduser().exists() and not _was_fetched(begun):
        raise DataError(f"there is nothing at SOURCE={source}; name an archive, an address or a folder of videos")
    return options


def with_usable_splits(options: Options, clips: pd.DataFrame) -> tuple[Options, list[str]]:
    """The options with those splits alone that can be measured, and a sentence for each other one.

    Of half of the classes at least there must be clips to train on and clips to test on. clips: all manifest rows.
    Raises DataError where no split is left.
    """
    num_classes = clips["class_name"].nunique()
    counts = {split: [_num_classes(clips, split, part) for part in ("train", "test")] for split in options.split_names}
    usable = [split for split, numbers in counts.items() if 2 * min(numbers) >= num_classes]
    left_out = [
        f"Split {split} is left out: of {num_classes} classes {train} have clips to train on and {test} to test on."
        for split, (train, test) in counts.items()
        if split not in usable
    ]
    if not usable:
        raise DataError(f"no split can be measured: bring more of HMDB51's clips. {' '.join(left_out)}")
    return dataclasses.replace(options, splits=",".join(usable)), left_out


def _num_classes(clips: pd.DataFrame, split: str, part: Part) -> int:
    return int(part_of(clips, split=split, part=part)["class_name"].nunique())


def _was_fetched(begun: Journal | None) -> bool:
    """Whether the archive is needed no more."""
    return begun is not None and any(each.stage == "fetch" for each in begun.finished)


def _begun(options: Options) -> Journal | None:
    """The journal of NAME, or without one of the road that was begun last under its recipe's name."""
    runs = Path(options.runs)
    if options.name:
        return read_journal(runs / options.name)
    roads = [road for road in ROADS.values() if options.road in (AUTO, road.name)]
    folder = last_begun([runs / _recipe_name(road) for road in roads])
    return None if folder is None else read_journal(folder)


def _named(options: Options, road: Road) -> Options:
    return options if options.name else dataclasses.replace(options, name=_recipe_name(road))


def _recipe_name(road: Road) -> str:
    return str(road.settings()["name"])
