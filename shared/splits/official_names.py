"""Names that HMDB51's official lists know, also altered by a program that unpacked them, and the sides of sources."""

from __future__ import annotations

import dataclasses
import functools
import html
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from shared.manifests.files import SPLIT_COLUMNS
from shared.splits.parts import official_splits
from shared.splits.sources import NameTags, parse_name

_COPY = re.compile(r"(?: ?\(\d+\)| - Copy(?: \(\d+\))?| copy(?: \d+)?)$")  # of a second download or a second copy
_SIDES = ("train", "test")
Key = Callable[[str], str]


def official_clip_id(stem: str) -> str | None:
    """The clip of HMDB51 that a file of this name is, whatever its folder is called; None where it is none.

    Recognised are copies, names in lower case, and those in which signs such as ``+``, ``#``, ``&``, ``;`` and
    brackets, which 536 of the 6766 names hold, were replaced, left out or encoded as in addresses, as long as only one
    official name is meant. Names of HMDB51 hold their class and the source, so no other video bears one by chance.
    """
    found = _meant(_COPY.sub("", _decoded(stem)), _clip_ids)
    return found[0] if len(found) == 1 else None


def _meant(text: str, names_by: Callable[[Key], Mapping[str, tuple[str, ...]]]) -> tuple[str, ...]:
    """The official names that a text may stand for, by the first key that leads to any.

    Without an upper-case letter a text may be a name in lower case: unless it is a name itself, it stands for all
    that differ in case and signs.
    """
    signs: tuple[Key, ...] = (_folded,) if text == text.lower() else (_underscored, _letters_and_digits)
    for key in (_unchanged, *signs):
        found = names_by(key).get(key(text))
        if found is not None:
            return found
    return ()


def _decoded(text: str) -> str:
    """A text of an address or a page as it was; no official name changes by this."""
    return html.unescape(unquote(text))


def _unchanged(text: str) -> str:
    return text


def _underscored(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "_", text)


def _letters_and_digits(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", text)


def _folded(text: str) -> str:
    return _letters_and_digits(text).lower()


@functools.cache
def _clip_ids(key: Key) -> Mapping[str, tuple[str, ...]]:
    """The clip_ids of the official names whose stems share a key."""
    found: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for clip_id in official_splits():
        found[key(clip_id.partition("/")[2])] += (clip_id,)
    return found


def read_name(stem: str, *, class_name: str, source_pattern: str = "") -> NameTags:
    """As ``parse_name``, but of an altered name as the official lists spell it or its source."""
    official = official_clip_id(stem)
    if official is not None:
        official_class, _, stem = official.partition("/")
        class_name = class_name if source_pattern else official_class
    tags = parse_name(stem, class_name=class_name, source_pattern=source_pattern)
    if source_pattern or not tags.body:
        return tags
    meant = _official_sources(tags.source)
    return dataclasses.replace(tags, source=meant[0]) if len(meant) == 1 else tags


@functools.lru_cache(maxsize=64)  # asked for once for each split
def _official_sources(source: str) -> tuple[str, ...]:
    """The sources that one whose signs or case were altered may be, as the official names spell them."""
    return _meant(_decoded(source), _sources)


@functools.cache
def _sources(key: Key) -> Mapping[str, tuple[str, ...]]:
    """The official sources that share a key."""
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
    of the source that it is tested on, or test it on pictures that it has seen. A source that was altered, and may be
    several of theirs, has the sides of them all.
    """
    sides, sources = _sides(source_pattern), {source, *_official_sources(source)}
    in_class, anywhere = (
        {side for known in sources for side in sides.get((column, known, name), ())} for name in (class_name, None)
    )
    for found in (in_class, anywhere):
        if len(found) == 1:
            return min(found)
    return "unused" if anywhere else None


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
