"""Warnings about sources and splits: where they come, and that healthy data sets have none."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from shared.manifests.files import SPLIT_COLUMNS
from shared.splits.defaults import assign_splits
from shared.splits.official_names import read_name
from shared.splits.parts import official_splits
from shared.splits.warnings import warnings_on_splits


def clips_of(clip_ids: Sequence[str], sources: Sequence[str] = (), *, parts: Sequence[str] = ()) -> pd.DataFrame:
    """Manifest rows; sources as their names say, parts as seeded, where they are not given."""
    classes = [clip_id.partition("/")[0] for clip_id in clip_ids]
    if not sources:
        sources = [
            read_name(clip_id.partition("/")[2], class_name=name).source
            for clip_id, name in zip(clip_ids, classes, strict=True)
        ]
    rows = pd.DataFrame({"clip_id": clip_ids, "class_name": classes, "source": sources})
    splits = assign_splits(clip_ids, classes, sources)
    for column in SPLIT_COLUMNS:
        rows[column] = parts or [getattr(split, column) for split in splits]
    return rows


def test_healthy_sets_have_none() -> None:
    assert warnings_on_splits(clips_of(list(official_splits())), source_pattern="") == ()
    many = [f"{name}/video{index}_{name}" for name in "abc" for index in range(20)]
    assert warnings_on_splits(clips_of(many), source_pattern="") == ()
    dates = [f"{name}/VID_20240101_1200{index:02d}" for name in "abc" for index in range(20)]  # one video, two actions
    assert warnings_on_splits(clips_of(dates), source_pattern="") == ()


def test_one_source_for_everything() -> None:
    clip_ids = [f"{name}/v_{name}_{index}" for name in "abc" for index in range(4)]
    large, without_test = warnings_on_splits(clips_of(clip_ids, ["v"] * 12), source_pattern="")
    assert large.startswith("one source, v, holds most clips of 3 of 3 classes (12 of 12 clips)")
    assert "`hmdb-prep merge --source-pattern REGEX`" in large
    assert without_test.startswith(
        "split1, split2, split3 and split_full have no clips to test on: all clips are of one"
    )


def test_a_class_of_one_source_is_nothing_strange() -> None:
    clip_ids = [f"{name}/{name}{index}x" for name in "abc" for index in range(10)]
    sources = ["film"] * 10 + [str(index) for index in range(20)]
    assert not any("holds most" in text for text in warnings_on_splits(clips_of(clip_ids, sources), source_pattern=""))


def test_splits_without_a_side_and_those_left_out_on_purpose() -> None:
    clip_ids = [f"{name}/{name}{index}x" for name in "abcde" for index in range(4)]
    assert warnings_on_splits(clips_of(clip_ids, parts=["unused"] * 20), source_pattern="") == ()
    (text,) = warnings_on_splits(
        clips_of(clip_ids, parts=["train"] * 20), source_pattern="", columns=["split1", "split2"]
    )
    assert text == (
        "split1 and split2 have no clips to test on: choose another split, or give your own with "
        "`hmdb-prep merge --splits FILE`"
    )
    (text,) = warnings_on_splits(clips_of(clip_ids, parts=["test"] * 20), source_pattern="", columns=["split3"])
    assert text.startswith("split3 has no clips to train on: ")
    few = clips_of(clip_ids, parts=["train", "train", "val", "test"] + ["train"] * 16)
    (text,) = warnings_on_splits(few, source_pattern="", columns=["split1"])
    assert text.startswith("split1 has clips to test on of 1 of its 5 classes only: ")


def test_a_split_of_val_clips_alone_is_said() -> None:
    clip_ids = [f"{name}/{name}{index}x" for name in "abcde" for index in range(4)]
    found = warnings_on_splits(clips_of(clip_ids, parts=["val"] * 20), source_pattern="", columns=["split1"])
    assert [text.partition(":")[0] for text in found] == [
        "split1 has no clips to train on",
        "split1 has no clips to test on",
    ]


def test_splits_of_ones_own_that_leak_are_said() -> None:
    clip_ids = [f"{name}/{name}{index}x" for name in "ab" for index in range(4)]
    sources = ["s1", "s1", "s2", "s3"] * 2
    for part in ("train", "val"):
        leaking = clips_of(clip_ids, sources, parts=[part, "test", "test", "train"] * 2)
        found = warnings_on_splits(leaking, source_pattern="(.)", has_own_splits=True, columns=["split1"])
        assert found[-1].startswith("split1 tests on 2 of 4 clips whose source, such as s1, also has clips that train")
        own = warnings_on_splits(leaking, source_pattern="(.)", columns=["split1"])
        assert not any("tests on" in text for text in own)
    whole = clips_of(clip_ids, sources, parts=["train", "train", "test", "val"] * 2)
    assert warnings_on_splits(whole, source_pattern="(.)", has_own_splits=True) == ()


def test_numbered_names_of_several_classes() -> None:
    clips = clips_of([f"{name}/clip_{index:03d}" for name in "abc" for index in range(20)])
    (text,) = warnings_on_splits(clips, source_pattern="")
    assert text.startswith(
        "20 numbered names stand in several classes and are taken for one source video each, such as"
    )
    assert "clip_000 in a, b and c" in text and "--source-pattern '(.*/.*)'" in text
    assert warnings_on_splits(clips, source_pattern="(.*)") == ()  # it is meant
