"""The splits of clips where nobody gives any: official, on the side of a known source, or seeded by source."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.classes import HMDB51_CLASSES
from shared.splits.defaults import assign_splits
from shared.splits.official_names import read_name
from shared.splits.parts import ClipSplits, official_splits

COLUMNS = ("split1", "split2", "split3", "split_full")
SIDES = {"train", "test"}


videos = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 12), st.integers(0, 500)), min_size=1, max_size=80, unique=True
)


@given(videos=videos)
@settings(deadline=None, max_examples=60)
def test_other_videos_are_split_by_source(videos: list[tuple[str, int, int]]) -> None:
    clip_ids = [f"{name}/{source}_{index}" for name, source, index in videos]
    classes = [name for name, _, _ in videos]
    sources = [str(source) for _, source, _ in videos]
    splits = assign_splits(clip_ids, classes, sources)
    for column in COLUMNS:
        sides: dict[str, set[str]] = defaultdict(set)
        for source, split in zip(sources, splits, strict=True):
            sides[source].add(getattr(split, column))
        assert all(len(found) == 1 for found in sides.values())
        found = set().union(*sides.values())
        assert "train" in found
        assert ("test" in found) == (len(sides) > 1)
    order = np.random.default_rng(len(videos)).permutation(len(videos))
    again = assign_splits(*([values[index] for index in order] for values in (clip_ids, classes, sources)))
    assert [again[list(order).index(index)] for index in range(len(videos))] == splits


def test_official_clips_keep_their_splits_among_others() -> None:
    known = "punch/AdvancedBoxingTechniquesandExercises_punch_u_nm_np1_ba_med_23"
    splits = assign_splits([known, "punch/mine"], ["punch", "punch"], ["x", "mine"])
    assert splits[0] == official_splits()[known]
    assert isinstance(splits[1], ClipSplits)


def test_three_tenths_of_even_sources_test() -> None:
    clip_ids = [f"c{index % 7}/v{index}" for index in range(210)]
    splits = assign_splits(clip_ids, [clip_id[:2] for clip_id in clip_ids], [f"s{index // 3}" for index in range(210)])
    for column in COLUMNS:
        assert Counter(getattr(split, column) for split in splits)["test"] == pytest.approx(63, abs=6)


def sides_of(clip_ids: list[str], splits: list[ClipSplits], *, column: str) -> dict[str, set[str]]:
    """The sides, train and test, on which each source stands."""
    sides: dict[str, set[str]] = defaultdict(set)
    for clip_id, split in zip(clip_ids, splits, strict=True):
        class_name, _, stem = clip_id.partition("/")
        sides[read_name(stem, class_name=class_name).source] |= {getattr(split, column)} & SIDES
    return sides


OFFICIAL = list(official_splits())
OFFICIAL_SIDES = {column: sides_of(OFFICIAL, list(official_splits().values()), column=column) for column in COLUMNS}
further = st.builds(
    lambda clip, class_name, index: f"{class_name}/{source_of(clip)}_{class_name}_f_cm_np1_fr_med_{index}",
    st.sampled_from(OFFICIAL),
    st.sampled_from(HMDB51_CLASSES),
    st.integers(300, 400),
)


def source_of(clip_id: str) -> str:
    class_name, _, stem = clip_id.partition("/")
    return read_name(stem, class_name=class_name).source


@given(others=st.lists(further, min_size=1, max_size=60, unique=True), own=st.lists(st.integers(0, 99), max_size=20))
@settings(deadline=None, max_examples=40)
def test_no_source_stands_on_two_sides_but_as_the_lists_have_it(others: list[str], own: list[int]) -> None:
    mine = [f"walk/mine{number}" for number in sorted(set(own))]
    clip_ids = [*OFFICIAL[::7], *others, *mine]
    class_names = [clip_id.partition("/")[0] for clip_id in clip_ids]
    splits = assign_splits(clip_ids, class_names, [source_of(clip_id) for clip_id in clip_ids])
    assert splits[: len(OFFICIAL[::7])] == list(official_splits().values())[::7]
    for column in COLUMNS:
        for source, found in sides_of(clip_ids, splits, column=column).items():
            official = OFFICIAL_SIDES[column].get(source, set())
            assert found <= official if official else len(found) <= 1, (column, source)
    in_classes: dict[tuple[str, str], set[str]] = defaultdict(set)  # what a model could profit from
    for clip_id, class_name, split in zip(clip_ids, class_names, splits, strict=True):
        in_classes[source_of(clip_id), class_name] |= {split.split1} & SIDES
    assert all(len(found) <= 1 for found in in_classes.values())


def test_a_further_clip_of_a_source_on_both_sides_leaks_nothing() -> None:
    both = sorted(source for source, sides in OFFICIAL_SIDES["split1"].items() if len(sides) == 2)[0]
    own_class = next(
        clip_id for clip_id, split in official_splits().items() if source_of(clip_id) == both and split.split1 in SIDES
    ).partition("/")[0]
    strange = next(
        name
        for name in HMDB51_CLASSES
        if not any(source_of(clip) == both for clip in OFFICIAL if clip.startswith(f"{name}/"))
    )
    (split,) = assign_splits([f"{strange}/{both}_{strange}_f_cm_np1_fr_med_300"], [strange], [both])
    assert split.split1 == "unused"
    (split,) = assign_splits([f"{own_class}/{both}_{own_class}_f_cm_np1_fr_med_300"], [own_class], [both])
    assert split.split1 in SIDES


def test_copies_and_flipped_clips_are_on_the_side_of_their_source() -> None:
    """Of every official clip: no flipped test clip trains."""
    clips = [clip for clip in OFFICIAL if clip.startswith(("clap/", "golf/"))]
    names = [f"{clip}_flip" for clip in clips]
    classes = [clip.partition("/")[0] for clip in names]
    found = assign_splits(names, classes, [source_of(clip) for clip in names])
    for clip, split in zip(clips, found, strict=True):
        for column in COLUMNS:
            part = getattr(official_splits()[clip], column)
            assert getattr(split, column) == part or part == "unused", (clip, column)


def test_splits_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clip_ids = [f"a/once{index}x" for index in range(20)]
    first = assign_splits(clip_ids, ["a"] * 20, clip_ids)
    monkeypatch.setattr("shared.splits.defaults.hold_out_sources", None)
    assert assign_splits(clip_ids[::-1], ["a"] * 20, clip_ids[::-1]) == first[::-1]


def test_altered_names_have_official_splits() -> None:
    clip_ids = ["clap/@20_Rhythm_clap_u_nm_np1_fr_goo_0", "Clap hands/#20_Rhythm_clap_u_nm_np1_fr_goo_0"]
    first, second = assign_splits(clip_ids, ["clap", "Clap hands"], ["#20_Rhythm"] * 2)
    assert first == second == official_splits()["clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0"]


def test_a_pattern_groups_official_clips_too() -> None:
    """What it finds in official names is a known source as well."""
    (split,) = assign_splits(["punch/x"], ["punch"], ["AdvancedBoxing"], source_pattern="^(AdvancedBoxing)")
    for column in COLUMNS:
        parts = {getattr(row, column) for clip, row in official_splits().items() if "/AdvancedBoxing" in clip} & SIDES
        assert {getattr(split, column)} == parts, column
