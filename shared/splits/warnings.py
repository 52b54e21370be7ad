"""What cannot be right about sources and splits, in sentences with the way out: for `extract`, `eda` and `run`."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.manifests.files import SPLIT_COLUMNS
from shared.terminal.console import counted

if TYPE_CHECKING:
    import pandas as pd

_FEWEST_CLIPS = 2  # of a class from one source, before that looks odd
_NUM_SHOWN = 3
_USES = {"train": "to train on", "test": "to test on"}
_USED = (*_USES, "val")
_COUNTER_NAME = re.compile(r"\D*\d{1,6}\D*")  # clip_001, IMG_0001; no dates and times, no names of Kinetics


def warnings_on_splits(
    clips: pd.DataFrame,
    *,
    source_pattern: str,
    has_own_splits: bool = False,
    columns: Sequence[str] = SPLIT_COLUMNS,
) -> tuple[str, ...]:
    """Sentences, the worst first; none where nothing looks wrong.

    clips: rows of the manifests. source_pattern: as dataset.json has it. has_own_splits: they are the user's, and may
    leak; those of HMDB51 are what they are. columns: the splits to speak of.
    """
    found = (
        _on_large_sources(clips["class_name"].tolist(), clips["source"].tolist()),
        *_on_missing_parts(clips, columns),
        *(_on_leaks(clips, columns) if has_own_splits else ()),
        "" if source_pattern else _on_counted_names(clips["clip_id"].tolist(), clips["source"].tolist()),
    )
    return tuple(sentence for sentence in found if sentence)


def _on_large_sources(class_names: Sequence[str], sources: Sequence[str]) -> str:
    """On a source that holds most clips of several classes: what it is called may not be one video."""
    per_class = Counter(class_names)
    classes_of: dict[str, list[str]] = defaultdict(list)
    for (source, class_name), count in Counter(zip(sources, class_names, strict=True)).items():
        if count >= _FEWEST_CLIPS and 2 * count > per_class[class_name]:
            classes_of[source].append(class_name)
    source, classes = max(classes_of.items(), key=lambda item: (len(item[1]), item[0]), default=("", []))
    if len(classes) < 2:
        return ""
    return (
        f"one source, {source}, holds most clips of {len(classes)} of {counted(len(per_class), 'class')} "
        f"({sources.count(source)} of {counted(len(sources), 'clip')}), and no test on other videos is possible: if it "
        "is not one video, say what names a video with `hmdb-prep merge --source-pattern REGEX`"
    )


def _on_missing_parts(clips: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """On splits whose training or test clips are none, or of few classes; one that uses no clip is meant to be so."""
    num_sources = clips["source"].nunique()
    remedy = "choose another split, or give your own with `hmdb-prep merge --splits FILE`"
    if num_sources < 2:
        remedy = (
            "all clips are of one source; if that is not one video, say what names a video with "
            "`hmdb-prep merge --source-pattern REGEX`"
        )
    classes_of = {
        (column, part): set(clips.loc[clips[column] == part, "class_name"]) for column in columns for part in _USED
    }
    sentences = []
    for part, use in _USES.items():
        used = {column: set().union(*(classes_of[column, one] for one in _USED)) for column in columns}
        none = [column for column in columns if used[column] and not classes_of[column, part]]
        few = [column for column in columns if 0 < 2 * len(classes_of[column, part]) < len(used[column])]
        if none:
            sentences.append(f"{_listed(none)} {'has' if len(none) == 1 else 'have'} no clips {use}: {remedy}")
        sentences += [
            f"{column} has clips {use} of {len(classes_of[column, part])} of its "
            f"{counted(len(used[column]), 'class')} only: {remedy}"
            for column in few
        ]
    return sentences


def _on_leaks(clips: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """On splits of one's own that test on sources which are trained on or choose the best state."""
    sentences = []
    for column in columns:
        test = clips[clips[column] == "test"]
        leaking = test[test["source"].isin(clips.loc[clips[column].isin(("train", "val")), "source"])]
        if not leaking.empty:
            sentences.append(
                f"{column} tests on {len(leaking)} of {counted(len(test), 'clip')} whose source, such as "
                f"{min(leaking['source'])}, also has clips that train or validate: what it measures is too good. Put "
                "each source on one side; if these are no sources, say what names a video with `hmdb-prep merge "
                "--source-pattern REGEX`"
            )
    return sentences


def _on_counted_names(clip_ids: Sequence[str], sources: Sequence[str]) -> str:
    """On names such as clip_001 that several classes have, and that are taken for one source video each."""
    classes_of: dict[str, list[str]] = defaultdict(list)
    for clip_id, source in zip(clip_ids, sources, strict=True):
        class_name, _, stem = clip_id.partition("/")
        if stem == source and _COUNTER_NAME.fullmatch(stem):
            classes_of[stem].append(class_name)
    shared = {stem: classes for stem, classes in classes_of.items() if len(classes) > 1}
    if len(shared) < 2:
        return ""
    stem = min(shared)
    return (
        f"{len(shared)} numbered names stand in several classes and are taken for one source video each, such as "
        f"{stem} in {_listed(shared[stem])}: if they are different videos, `hmdb-prep merge --source-pattern "
        "'(.*/.*)'` makes each clip a source of its own"
    )


def _listed(names: Sequence[str]) -> str:
    """A, B and C, or the first ones with the number of the others."""
    if len(names) > _NUM_SHOWN + 1:
        return f"{', '.join(names[:_NUM_SHOWN])} and {len(names) - _NUM_SHOWN} others"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
