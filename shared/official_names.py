"""Names that HMDB51's official lists know, also altered by a program that unpacked them, and the sides of sources."""

from __future__ import annotations

import dataclasses
import functools
import html
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from shared.manifests import SPLIT_COLUMNS
from shared.sources import NameTags, parse_name
from shared.splits import official_splits

_COPY = re.compile(r"(?: ?\(\d+\)| - Copy)$")  # what a second download or a second copy adds
_SIDES = ("train", "test")


def official_clip_id(stem: str) -> str | None:
    """The clip of HMDB51 that a file of this name is, whatever its folder is called; None where it is none.

    Recognised are names in which signs such as ``+``, ``#``, ``&``, ``;`` and brackets, which 536 of the 6766 names
    hold, were replaced, left out or encoded as in addresses, as long as only one official name is meant. Names of
    HMDB51 hold their class and the source, so no other video bears one by chance.
    """
    exact = _clip_ids_by(_unchanged).get(stem)
    if exact is not None:
        return exact
    plain = _COPY.sub("", html.unescape(unquote(stem)))
    for key in (_unchanged, _underscored, _letters_and_digits):
        found = _clip_ids_by(key).get(key(plain))
        if found is not None:
            return found
    return None


def _unchanged(stem: str) -> str:
    return stem


def _underscored(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "_", text)


def _letters_and_digits(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", text)


@functools.cache
def _clip_ids_by(key: Callable[[str], str]) -> Mapping[str, str]:
    """The clip_id of each official name, by the key of its stem; without those that share a key."""
    found: dict[str, list[str]] = defaultdict(list)
    for clip_id in official_splits():
        found[key(clip_id.partition("/")[2])].append(clip_id)
    return {name: clip_ids[0] for name, clip_ids in found.items() if len(clip_ids) == 1}


def read_name(stem: str, *, class_name: str, source_pattern: str = "") -> NameTags:
    """As ``parse_name``, but of an altered name as the official lists spell it or its source."""
    official = official_clip_id(stem)
    if official is not None:
        official_class, _, stem = official.partition("/")
        class_name = class_name if source_pattern else official_class
    tags = parse_name(stem, class_name=class_name, source_pattern=source_pattern)
    if source_pattern or not tags.body:
        return tags
    return dataclasses.replace(tags, source=_official_source(tags.source))


def _official_source(source: str) -> str:
    """The source as the official names spell it, where only signs in it were altered; else the source itself."""
    if source in _spellings(_unchanged):
        return source
    plain = html.unescape(unquote(source))
    for key in (_unchanged, _underscored, _letters_and_digits):
        spellings = _spellings(key).get(key(plain), ())
        if len(spellings) == 1:
            return spellings[0]
    return source


@functools.cache
def _spellings(key: Callable[[str], str]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, set[str]] = defaultdict(set)
    for clip_id in official_splits():
        class_name, _, stem = clip_id.partition("/")
        source = parse_name(stem, class_name=class_name).source
        found[key(source)].add(source)
    return {name: tuple(sorted(sources)) for name, sources in found.items()}


def side_of_source(source: str, *, class_name: str, column: str, source_pattern: str = "") -> str | None:
    """The part that a further clip of a source gets so that it leaks nothing; None where the lists leave it free.

    The side, train or test, that the lists give the source's clips of this class; else the one that they give all of
    its clips. Where they give both, to clips of other classes, ``unused``: either side would show the model pictures
    of the source that it is tested on, or test it on pictures that it has seen.
    """
    sides = _sides(source_pattern)
    for found in (sides.get((column, source, class_name), ()), sides.get((column, source, None), ())):
        if len(found) == 1:
            return min(found)
    return "unused" if (column, source, None) in sides else None


@functools.lru_cache(maxsize=4)
def _sides(source_pattern: str) -> Mapping[tuple[str, str, str | None], frozenset[str]]:
    """The sides on which official clips stand, by column, source and class; class None: by column and source."""
    found: dict[tuple[str, str, str | None], set[str]] = defaultdict(set)
    for clip_id, splits in official_splits().items():
        class_name, _, stem = clip_id.partition("/")
        source = parse_name(stem, class_name=class_name, source_pattern=source_pattern).source
        for column in SPLIT_COLUMNS:
            part = getattr(splits, column)
            if part in _SIDES:
                found[column, source, class_name].add(part)
                found[column, source, None].add(part)
    return {key: frozenset(sides) for key, sides in found.items()}
