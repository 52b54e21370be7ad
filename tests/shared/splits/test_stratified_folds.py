"""Folds of whole groups: those of scikit-learn to the last group, whatever the classes and however many."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from shared.splits import folds
from shared.splits.folds import stratified_group_folds
from shared.splits.parts import official_splits

Numbers = npt.NDArray[np.int64]


def folds_of_sklearn(labels: Numbers, groups: Numbers, *, num_folds: int, seed: int) -> Numbers:
    folds = np.full(len(labels), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
        for fold, (_, members) in enumerate(splitter.split(labels, labels, groups)):
            folds[members] = fold
    return folds


def numbered(values: Numbers) -> Numbers:
    return np.unique(values, return_inverse=True)[1]


def check_equal(labels: Numbers, groups: Numbers, *, num_folds: int, seed: int) -> None:
    ours = stratified_group_folds(labels, groups, num_folds=num_folds, seed=seed)
    assert ours.tolist() == folds_of_sklearn(labels, groups, num_folds=num_folds, seed=seed).tolist()


@given(
    num_members=st.integers(8, 200),
    num_classes=st.integers(1, 40),
    num_groups=st.integers(2, 200),
    num_folds=st.integers(2, 10),
    skewed=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=60)
def test_folds_are_those_of_scikit_learn(
    num_members: int, num_classes: int, num_groups: int, num_folds: int, skewed: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    shares = generator.random(num_members) ** (4 if skewed else 1)
    labels = numbered((shares * num_classes).astype(np.int64))
    groups = numbered(generator.integers(0, num_groups, num_members))
    num_folds = min(num_folds, int(groups.max()) + 1, int(np.bincount(labels).max()))
    if num_folds >= 2:
        check_equal(labels, groups, num_folds=num_folds, seed=seed)


@pytest.mark.parametrize(("num_classes", "num_folds"), [(1, 10), (1, 130), (2, 130), (128, 10), (129, 3), (700, 10)])
def test_sums_keep_the_order_of_numpy(num_classes: int, num_folds: int) -> None:
    """Every member a group of its own: all groups of a class size tie, and the last bits decide."""
    labels = np.concatenate([np.zeros(num_folds, np.int64), np.arange(num_classes)])
    groups = np.random.default_rng(num_classes).permutation(len(labels))
    check_equal(labels, groups, num_folds=num_folds, seed=1)


def test_folds_of_hmdb51_are_those_of_scikit_learn() -> None:
    names = [clip_id.partition("/") for clip_id in official_splits()]
    labels = numbered(np.array([class_name for class_name, _, _ in names]))
    groups = numbered(np.array([stem.partition("_")[0] for _, _, stem in names]))
    check_equal(labels, groups, num_folds=10, seed=3)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 127, 128, 129, 136, 700, 5000])
def test_the_paired_sum_is_numpy_s(length: int) -> None:
    values = np.random.default_rng(length).random(length)
    assert folds._paired_sum(values, 0, length) == values.sum()


def test_many_groups_are_spread_evenly() -> None:
    """20,000 groups, on which scikit-learn takes a minute: every fold has its tenth of every class."""
    labels, groups = np.arange(20_000) % 100, np.random.default_rng(0).permutation(20_000)
    folds = stratified_group_folds(labels, groups, num_folds=10, seed=0)
    counts = np.bincount(folds * 100 + labels, minlength=1000)
    assert (counts.min(), counts.max()) == (20, 20)
