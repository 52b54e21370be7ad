"""The splits of clips where nobody gives any: official ones, those of a known source, or seeded ones by source."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from shared.splits.official_names import official_clip_id, side_of_source
from shared.splits.parts import ClipSplits, hold_out_sources, official_splits

_NUM_FOLDS = 10
_NUM_TEST_FOLDS = 3
_SEEDS = {"split1": 1, "split2": 2, "split3": 3, "split_full": 0}
Clip = tuple[str, str, str]  # clip_id, class, source


def assign_splits(
    clip_ids: Sequence[str], class_names: Sequence[str], sources: Sequence[str], *, source_pattern: str = ""
) -> list[ClipSplits]:
    """The splits of each clip, so that no source is on both sides but as HMDB51's lists themselves have it.

    A clip of HMDB51, also one whose name was altered, has its official splits. A further clip of a source that the
    lists know follows its side (``side_of_source``). Of all others, three in ten sources are for test, classes kept as
    even as the sources allow (StratifiedGroupKFold of 10 folds, 3 of them test), a seed of its own for each split.
    A pure function of the three lists, whose order does not matter, and the pattern that the sources were found with.
    """
    assigned = _assigned(tuple(sorted(set(zip(clip_ids, class_names, sources, strict=True)))), source_pattern)
    return [assigned[clip_id] for clip_id in clip_ids]


@functools.lru_cache(maxsize=2)  # it takes seconds of a large data set, and `extract` asks before it decodes and after
def _assigned(clips: tuple[Clip, ...], source_pattern: str) -> Mapping[str, ClipSplits]:
    known = {clip[0]: official_clip_id(clip[0].partition("/")[2]) for clip in clips}
    others = [clip for clip in clips if known[clip[0]] is None]
    sides = [_known_sides(clip, source_pattern) for clip in others]
    columns = [
        _parts(others, [fixed[place] for fixed in sides], seed=seed) for place, seed in enumerate(_SEEDS.values())
    ]
    rows = list(zip(*columns, strict=True))
    made = {row: ClipSplits(**dict(zip(_SEEDS, row, strict=True))) for row in set(rows)}  # shared by all their clips
    official = {clip_id: official_splits()[name] for clip_id, name in known.items() if name is not None}
    return {clip[0]: made[row] for clip, row in zip(others, rows, strict=True)} | official


def _known_sides(clip: Clip, source_pattern: str) -> list[str | None]:
    """The part of a clip in each split where its source fixes it; None where it is free."""
    _, class_name, source = clip
    return [
        side_of_source(source, class_name=class_name, column=column, source_pattern=source_pattern) for column in _SEEDS
    ]


def _parts(clips: Sequence[Clip], sides: Sequence[str | None], *, seed: int) -> list[str]:
    """The parts of clips outside the lists in one split. sides: as ``_known_sides``."""
    free = [clip for clip, side in zip(clips, sides, strict=True) if side is None]
    test = iter(_seeded_test([clip[1] for clip in free], [clip[2] for clip in free], seed=seed))
    return [side or ("test" if next(test) else "train") for side in sides]


def _seeded_test(labels: Sequence[str], groups: Sequence[str], *, seed: int) -> npt.NDArray[np.bool_]:
    """True for the clips that test: three of ten folds (fewer folds where there are fewer sources)."""
    num_folds = min(_NUM_FOLDS, len(set(groups)))
    num_test = max(1, round(num_folds * _NUM_TEST_FOLDS / _NUM_FOLDS))
    return hold_out_sources(labels, groups, num_folds=num_folds, num_held_out=num_test, seed=seed)
