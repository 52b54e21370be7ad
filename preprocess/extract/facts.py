"""What is known of a clip without decoding it: label, source, tags and splits. ``merge`` finds them anew each time."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from shared.manifests.files import ClipRow
from shared.splits.defaults import assign_splits
from shared.splits.official_names import read_name
from shared.splits.own_files import SplitTable
from shared.splits.parts import ClipSplits, stem_without_part
from shared.splits.sources import NameTags
from shared.video.listing import Video


@dataclass(frozen=True, kw_only=True)
class FactRules:
    """By which rules clips get their sources and splits. They are kept beside the shards and may change later."""

    source_pattern: str = ""
    """The regular expression whose first group is the source; empty: the rules of ``shared/splits/sources.py``."""
    table: SplitTable | None = None
    """Splits of one's own; None: those of ``shared/splits/defaults.py``."""


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What is known of every clip before decoding, by clip_id."""

    labels: dict[str, int]
    tags: dict[str, NameTags]
    splits: dict[str, ClipSplits]


def facts_of(videos: Sequence[Video], rules: FactRules, *, class_names: Sequence[str]) -> ClipFacts:
    """The facts of all planned videos. class_names: those of the data set, sorted; their order makes the labels."""
    labels = {name: label for label, name in enumerate(class_names)}
    tags = name_tags(videos, source_pattern=rules.source_pattern)
    splits = _splits(videos, rules, sources=[tags[video.clip_id].source for video in videos])
    return ClipFacts(
        labels={video.clip_id: labels[video.class_name] for video in videos},
        tags=tags,
        splits={video.clip_id: split for video, split in zip(videos, splits, strict=True)},
    )


def _splits(videos: Sequence[Video], rules: FactRules, *, sources: Sequence[str]) -> list[ClipSplits]:
    table = rules.table
    if table is not None and "split_full" in table.columns:
        return [table.of(video, full="") for video in videos]
    clip_ids, class_names = [video.clip_id for video in videos], [video.class_name for video in videos]
    made = assign_splits(clip_ids, class_names, sources, source_pattern=rules.source_pattern)
    if table is None:
        return made
    return [table.of(video, full=split.split_full) for video, split in zip(videos, made, strict=True)]


def name_tags(videos: Sequence[Video], *, source_pattern: str) -> dict[str, NameTags]:
    """Source and tags of each clip, by clip_id.

    With no pattern, a name that is a number alone and stands in several classes says nothing of the source: each of
    its clips is a source of its own then, named by its clip_id.
    """
    tags = {
        video.clip_id: read_name(video.stem, class_name=video.class_name, source_pattern=source_pattern)
        for video in videos
    }
    if not source_pattern:
        tags |= {video.clip_id: NameTags(source=video.clip_id) for video in repeated_numbers(videos)}
    return tags


def repeated_numbers(videos: Sequence[Video]) -> list[Video]:
    """Those whose name is a number alone that stands in several classes, with or without a part behind it."""
    classes: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        classes[stem_without_part(video.stem)].add(video.class_name)
    stems = ((video, stem_without_part(video.stem)) for video in videos)
    return [video for video, stem in stems if stem.isdecimal() and len(classes[stem]) > 1]


def with_facts(row: ClipRow, facts: ClipFacts) -> ClipRow:
    """A manifest row as it is with these facts, whatever held when its clip was extracted."""
    return dataclasses.replace(
        row,
        label=facts.labels[row.clip_id],
        **dataclasses.asdict(facts.tags[row.clip_id]),
        **dataclasses.asdict(facts.splits[row.clip_id]),
    )
