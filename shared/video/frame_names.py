"""Names of the pictures of a frame folder: which of them are frames, and in which order."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

PICTURE_SUFFIXES: frozenset[str] = frozenset(
    (".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)
_NUMBER = re.compile(r"[0-9]+")
_NUM_NAMES_SHOWN = 3


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture, by its suffix."""
    return _parts(name)[1].lower() in PICTURE_SUFFIXES


def is_frame(name: str) -> bool:
    """Whether a file of this name is a numbered picture, such as ``0001.jpg`` or ``frame12.png``, and not hidden."""
    return is_picture(name) and not name.startswith(".") and _NUMBER.search(_parts(name)[0]) is not None


def _parts(name: str) -> tuple[str, str]:
    """Stem and suffix. Data sets have a million pictures: pathlib takes ten times as long."""
    return os.path.splitext(name)  # noqa: PTH122


@dataclass(frozen=True, kw_only=True)
class FrameOrder:
    """The frames of a folder in the order of their numbers."""

    names: tuple[str, ...]
    num_missing: int
    """Numbers that are left out between the first and the last. Every fifth frame is a series without a gap."""
    first_missing: int
    """The first of them; -1 where none is."""


def frame_order(names: Sequence[str]) -> FrameOrder:
    """Put numbered pictures in order: 2 before 10, with or without zeros in front.

    The names may hold several numbers, of which one counts (``v_x_g01_c01_0001.jpg``). Raises ValueError where it is
    not clear which, where two pictures have the same number, or where the names are of several kinds (``flow_x_0001``
    beside ``img_0001``): these would be frames of several videos.
    """
    by_numbers: dict[tuple[int, ...], str] = {}
    kinds: dict[str, str] = {}
    for name in sorted(names):
        stem = _parts(name)[0]
        kinds.setdefault(_NUMBER.sub("#", stem), name)
        numbers = tuple(int(number) for number in _NUMBER.findall(stem))
        if by_numbers.setdefault(numbers, name) != name and len(kinds) == 1:
            raise ValueError(
                f"two of its pictures have the same number: {by_numbers[numbers]} and {name}; leave one of them"
            )
    if len(kinds) > 1:
        raise ValueError(
            f"its pictures have names of {len(kinds)} kinds ({_some(kinds.values())}); leave the frames of one video"
        )
    numbers_of = sorted(by_numbers)
    counting = [column for column in zip(*numbers_of, strict=True) if len(set(column)) > 1]
    if len(counting) > 1:
        shown = _some(by_numbers[numbers] for numbers in (numbers_of[0], numbers_of[-1]))
        raise ValueError(f"its pictures count in several places of their names ({shown}); number them 1, 2, 3, ...")
    num_missing, first_missing = _gaps(counting[0]) if counting else (0, -1)
    return FrameOrder(
        names=tuple(by_numbers[numbers] for numbers in numbers_of), num_missing=num_missing, first_missing=first_missing
    )


def _gaps(numbers: Sequence[int]) -> tuple[int, int]:
    """How many numbers a rising series lacks by its own step, and the first of them."""
    step = math.gcd(*(after - before for before, after in pairwise(numbers)))
    missing = [before + step for before, after in pairwise(numbers) if after - before > step]
    return (numbers[-1] - numbers[0]) // step + 1 - len(numbers), missing[0] if missing else -1


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    more = ", ..." if len(shown) > _NUM_NAMES_SHOWN else ""
    return ", ".join(shown[:_NUM_NAMES_SHOWN]) + more
