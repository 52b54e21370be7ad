"""Intervals by the bootstrap over sources, groups and quarters: against plain loops over the same draws."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_results import answers, clip_facts, made_result

from train.evaluate.groups import TAG_MEANINGS, quarter_results, quarters_of, tag_results
from train.evaluate.intervals import NUM_DRAWS, drawn_weights, mean_class_interval, share_intervals
from train.learn.metrics import expected_calibration_error, label_ranks, reliability_bins

NAMES = tuple("abcdefgh")


def clips(seed: int, *, count: int = 60) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64], list[str]]:
    """Whether each clip is right, its label, and its source: sources of one to many clips."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    sources = [f"s{int(number)}" for number in np.sort(rng.integers(0, 12, count) ** 2 // 12)]
    return rng.random(count) < 0.3 + 0.15 * labels, labels, sources


def draws_of_clips(sources: list[str]) -> list[list[int]]:
    """The clips of each draw, repeated as often as their source was drawn: what the weights stand for."""
    names = sorted(set(sources))
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(NUM_DRAWS):
        times = generator.multinomial(len(names), np.full(len(names), 1 / len(names)))
        drawn.append(
            [
                place
                for name, count in zip(names, times, strict=True)
                for _ in range(int(count))
                for place, source in enumerate(sources)
                if source == name
            ]
        )
    return drawn


def percentiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    ends = []
    for share in (0.025, 0.975):
        place = share * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        ends.append(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
    return ends[0], ends[1]


def test_intervals_of_shares_equal_a_loop_over_draws() -> None:
    right, labels, sources = clips(0)
    members = np.stack([np.ones(len(right), dtype=bool), labels == 2], axis=1)
    found = share_intervals(np.stack([right, right], axis=1), members, sources)
    drawn = draws_of_clips(sources)
    for group, interval in enumerate(found):
        values = []
        for places in drawn:
            inside = [place for place in places if members[place, group]]
            if inside:
                values.append(sum(bool(right[place]) for place in inside) / len(inside))
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx(percentiles(values), abs=1e-12)
    assert found[0].high - found[0].low > 0.1  # type: ignore[union-attr]


def test_interval_of_the_mean_class_accuracy_equals_a_loop_over_draws() -> None:
    right, labels, sources = clips(1)
    values = []
    for places in draws_of_clips(sources):
        shares = []
        for label in range(4):
            inside = [place for place in places if labels[place] == label]
            if inside:
                shares.append(sum(bool(right[place]) for place in inside) / len(inside))
        values.append(sum(shares) / len(shares))
    interval = mean_class_interval(right, labels, sources)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(percentiles(values), abs=1e-12)


def test_clips_of_few_sources_tell_less_than_as_many_independent_ones() -> None:
    right = np.arange(200) % 40 < 20  # whole sources are right or wrong
    members = np.ones((200, 1), dtype=bool)
    (few,) = share_intervals(right[:, None], members, [f"s{place // 20}" for place in range(200)])
    (many,) = share_intervals(right[:, None], members, [f"s{place}" for place in range(200)])
    assert few is not None and many is not None
    assert few.high - few.low > 3 * (many.high - many.low)
    assert many.low == pytest.approx(0.5 - 1.96 * np.sqrt(0.25 / 200), abs=0.01)  # the normal approximation


def test_one_source_or_one_outcome_has_no_interval() -> None:
    right, labels = np.array([True, False]), np.array([0, 1])
    assert share_intervals(right[:, None], np.ones((2, 1), dtype=bool), ["a", "a"]) == [None]
    assert mean_class_interval(right, labels, ["a", "a"]) is None
    every = np.ones((2, 1), dtype=bool)
    assert share_intervals(every, every, ["a", "b"]) == share_intervals(~every, every, ["a", "b"]) == [None]
    assert mean_class_interval(every[:, 0], labels, ["a", "b"]) is None  # every draw says 1: that is no certainty
    assert made_result(num_clips=1, class_names=NAMES).intervals["top1"] is None


def test_every_draw_has_as_many_sources_as_there_are() -> None:
    weights = np.concatenate(list(drawn_weights(["a", "b", "b", "c"], num_draws=250)))
    assert weights.shape == (250, 4)
    np.testing.assert_array_equal(weights[:, 0] + weights[:, 1] + weights[:, 3], 3)
    np.testing.assert_array_equal(weights[:, 1], weights[:, 2])


# Groups


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_quarters_are_ordered_and_hold_equal_values_together(values: list[float]) -> None:
    array = np.array(values)
    quarters = quarters_of(array)
    assert set(quarters.tolist()) <= {1, 2, 3, 4}
    for one, quarter in zip(values, quarters, strict=True):
        assert all((other > one) <= (place >= quarter) for other, place in zip(values, quarters, strict=True))
    if len(set(values)) == len(values) and len(values) % 4 == 0:
        assert np.bincount(quarters, minlength=5).tolist() == [0] + [len(values) // 4] * 4


def test_quarters_cut_the_clips_into_groups() -> None:
    probabilities, labels = answers(3, num_clips=200, num_classes=8)
    facts = clip_facts(labels, NAMES)
    right = probabilities.argmax(axis=1) == labels
    found = quarter_results(facts.features, right, facts.sources)
    assert [(each.feature, each.quarter) for each in found] == [
        (feature, quarter) for feature in facts.features for quarter in (1, 2, 3, 4)
    ]
    for feature, values in facts.features.items():
        quarters = [each for each in found if each.feature == feature]
        assert sum(each.num_clips * each.top1 for each in quarters) == pytest.approx(right.sum())
        ordered = np.sort(values).reshape(4, 50)
        assert [each.low for each in quarters] == pytest.approx(list(ordered[:, 0]))
        assert [each.high for each in quarters] == pytest.approx(list(ordered[:, -1]))
        darkest = values <= ordered[0, -1]
        assert quarters[0].top1 == pytest.approx(right[darkest].mean())


def test_a_feature_that_is_the_same_everywhere_is_one_quarter() -> None:
    (only,) = quarter_results({"blur": np.full(6, 3.0)}, np.arange(6) < 2, ["a", "b"] * 3)
    assert (only.num_clips, only.low, only.high, only.top1) == (6, 3.0, 3.0, pytest.approx(1 / 3))


def test_values_of_a_tag_stand_in_their_order_and_unknown_ones_by_size() -> None:
    values = ["10", "2", "", "1"]
    found = tag_results({"num_people": values, "quality": ["bad", "", "goo", "odd"]}, np.ones(4, dtype=bool), values)
    assert [each.value for each in found if each.tag == "num_people"] == ["1", "2", "10", ""]
    assert [each.value for each in found if each.tag == "quality"] == ["goo", "bad", "odd", ""]
    assert list(TAG_MEANINGS["quality"]) == ["goo", "med", "bad"]


# Reliability


def test_bins_of_the_diagram_give_the_calibration_error() -> None:
    probabilities, labels = answers(5, num_clips=300, num_classes=8)
    bins = reliability_bins(probabilities, labels)
    assert sum(each.num_clips for each in bins) == 300
    error = sum(each.num_clips * abs(each.accuracy - each.confidence) for each in bins) / 300
    assert error == pytest.approx(expected_calibration_error(probabilities, labels))
    for each in bins:
        assert not each.num_clips or each.low < each.confidence <= each.high


def test_rank_counts_the_classes_that_come_before() -> None:
    probabilities = np.array([[0.2, 0.3, 0.3, 0.2], [0.25, 0.25, 0.25, 0.25]])
    assert label_ranks(probabilities, np.array([3, 2])).tolist() == [4, 3]
    assert label_ranks(probabilities, np.array([1, 0])).tolist() == [1, 1]
