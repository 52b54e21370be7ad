"""Offsets of classes against plain loops, and the strength that follows against the trainer's own draws."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.eda.offsets import MAX_STRENGTH, PICTURE_COLUMNS, apart_of, is_spread_known, offsets_of, strengths_of
from train.data.augment import AugmentSettings, Statistics, draw_changes

LISTS = st.lists(st.lists(st.floats(0, 255), min_size=2, max_size=6), min_size=2, max_size=8)


def clips_from(groups: list[list[float]]) -> pd.DataFrame:
    names = [f"class{index:02d}" for index, group in enumerate(groups) for _ in group]
    values = [value for group in groups for value in group]
    return pd.DataFrame({"class_name": names, **dict.fromkeys(PICTURE_COLUMNS, values)})


@given(LISTS)
@settings(max_examples=60, deadline=None)
def test_offsets_are_those_of_plain_loops(groups: list[list[float]]) -> None:
    found = offsets_of(clips_from(groups))
    for column, transform in (("brightness", float), ("blur", math.log1p)):
        changed = [[transform(value) for value in group] for group in groups]
        means = [statistics.fmean(group) for group in changed]
        spread = statistics.median(statistics.stdev(group) for group in changed)
        if 0 < spread < 1e-6:
            continue
        expected = [(mean - statistics.median(means)) / spread if spread else 0.0 for mean in means]
        np.testing.assert_allclose(found[column], expected, rtol=1e-6, atol=1e-6)


@given(LISTS, st.floats(-50, 50), st.floats(0.5, 4))
@settings(max_examples=40, deadline=None)
def test_offsets_do_not_depend_on_unit_and_zero(groups: list[list[float]], shift: float, scale: float) -> None:
    clips = clips_from(groups)
    if offsets_of(clips)["brightness"].abs().max() > 1e6:
        return
    moved = clips.assign(brightness=clips["brightness"] * scale + shift)
    np.testing.assert_allclose(offsets_of(moved)["brightness"], offsets_of(clips)["brightness"], rtol=1e-4, atol=1e-4)


def test_one_class_does_not_hide_another() -> None:
    """Two of nine classes stand far off; a mean and deviation over the classes would hide the nearer one."""
    generator = np.random.default_rng(0)
    centres = [0, 0, 0, 0, 0, 0, 0, 3, 300]
    offsets = offsets_of(clips_from([list(100 + centre + generator.normal(0, 1, 40)) for centre in centres]))
    apart = apart_of(offsets, pd.Series(20, index=offsets.index))["brightness"]
    assert apart.tolist() == [False] * 7 + [True, True]
    assert offsets["brightness"].iloc[7] == pytest.approx(3, abs=0.6)


def test_few_sources_must_lie_further_off() -> None:
    offsets = pd.DataFrame({column: [1.2, 1.2, 0.9, -2.9, -3.1] for column in PICTURE_COLUMNS}, index=list("abcde"))
    apart = apart_of(offsets, pd.Series([9, 4, 400, 1, 1], index=list("abcde")))
    assert apart["motion"].tolist() == [True, False, False, False, True]


def test_single_clips_have_no_spread() -> None:
    clips = clips_from([[1.0], [50.0], [90.0, 91.0]])
    assert not is_spread_known(clips["class_name"])
    assert set(offsets_of(clips)["brightness"]) == {0.0}


def test_strengths_are_ordered_bounded_and_not_for_motion() -> None:
    offsets = pd.DataFrame(0.0, index=list("abcd"), columns=list(PICTURE_COLUMNS))
    offsets.loc["a", "brightness"], offsets.loc["b", "blur"], offsets.loc["c", "motion"] = -1.3, 5.0, 9.0
    offsets.loc["d", "contrast"] = 0.9
    strengths = strengths_of(offsets, offsets.abs() > 1)
    assert strengths.to_dict() == {"b": MAX_STRENGTH, "a": 1.3}
    assert list(strengths.index) == ["b", "a"]


@pytest.mark.parametrize("strength", [1.0, 1.3, 1.5])
def test_the_trainer_leaves_what_the_formula_says(strength: float) -> None:
    """Of the distance from a class to the mean of all clips, 1/(2s) is left by the draws of training."""
    training = np.random.default_rng(0).normal(120, 30, 4000)
    own = np.full(40_000, 60.0)
    everything = Statistics(brightness=training, contrast=training, blur=training, colorfulness=training)
    clips = Statistics(brightness=own, contrast=own, blur=own, colorfulness=own)
    changes = draw_changes(
        clips, training=everything, strength=np.full(len(own), strength), settings=AugmentSettings(),
        height=64, width=64, rng=np.random.default_rng(1),
    )  # fmt: skip
    left = (training.mean() - (own + changes.shift).mean()) / (training.mean() - 60)
    assert left == pytest.approx(1 / (2 * strength), abs=0.01)
