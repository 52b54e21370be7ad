"""What is recovered from SMOTE is what SMOTE did, and neighbours are of other sources."""

from __future__ import annotations

import resource

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.over_sampling import SMOTE
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from preprocess.balance.smote import _read_samples, draw_synthetic, neighbors_of_other_sources, num_neighbors


def _clusters(sizes: list[int], *, seed: int = 0, width: int = 12) -> tuple[npt.NDArray, npt.NDArray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return rng.normal(size=(len(labels), width)) + labels[:, None], labels


def _own_sources(labels: npt.NDArray) -> npt.NDArray:
    return np.array([f"source{index}" for index in range(len(labels))])


@pytest.mark.parametrize("seed", [0, 7])
def test_reproduces_the_samples_of_imbalanced_learn(seed: int) -> None:
    """The dense library run is the oracle: the same class order, the same draws, the same points."""
    features, labels = _clusters([40, 12, 25, 12, 7], seed=seed)
    totals = {1: 40, 2: 30, 3: 40, 4: 33}
    oracle = SMOTE(sampling_strategy=totals, k_neighbors=5, random_state=np.random.RandomState(seed))
    expected, expected_labels = oracle.fit_resample(features, labels)

    wanted = {label: total - int((labels == label).sum()) for label, total in totals.items()}
    samples = draw_synthetic(features, labels, _own_sources(labels), num_synthetic=wanted, k=5, seed=seed)
    anchor, neighbor, lam = features[samples.anchor], features[samples.neighbor], samples.lam[:, None]
    np.testing.assert_allclose((1 - lam) * anchor + lam * neighbor, expected[len(labels) :], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(anchor + lam * (neighbor - anchor), expected[len(labels) :])  # bit by bit
    np.testing.assert_array_equal(labels[samples.anchor], expected_labels[len(labels) :])
    np.testing.assert_array_equal(labels[samples.neighbor], expected_labels[len(labels) :])


def test_anchor_and_neighbour_are_not_confused() -> None:
    """(a, n, lam) and (n, a, 1 - lam) are one point; SMOTE's own draws say which it was."""
    features, labels = _clusters([9, 60])
    samples = draw_synthetic(features, labels, _own_sources(labels), num_synthetic={0: 51}, k=3, seed=4)
    members = np.flatnonzero(labels == 0)
    table = NearestNeighbors(n_neighbors=4).fit(features[members]).kneighbors(return_distance=False, n_neighbors=3)
    draws = np.random.RandomState(4)
    places = draws.randint(0, table.size, 51)
    np.testing.assert_array_equal(samples.anchor, members[places // 3])
    np.testing.assert_array_equal(samples.neighbor, members[table[places // 3, places % 3]])
    np.testing.assert_array_equal(samples.lam, draws.uniform(size=51))


def test_classes_of_equal_size_draw_differently() -> None:
    features, labels = _clusters([30, 10, 10])
    samples = draw_synthetic(features, labels, _own_sources(labels), num_synthetic={1: 20, 2: 20}, k=5, seed=0)
    assert not np.intersect1d(samples.lam[:20], samples.lam[20:]).size


def test_a_class_alone_can_grow() -> None:
    features, labels = _clusters([6])
    samples = draw_synthetic(features, labels, _own_sources(labels), num_synthetic={0: 4}, k=5, seed=0)
    assert len(samples.lam) == 4


def test_lam_of_zero_is_read_as_such() -> None:
    """Three clips; the first sample is clip 2 itself, the second 0.25 of the way from clip 0 to clip 1."""
    rows = sparse.csr_matrix(np.array([[0, 0, 1, 0, 0, 0, 0], [0.75, 0, 0, 0, 0.25, 0, 0]]))
    samples = _read_samples(rows, nearest=np.array([2, 0, 1]))
    assert samples.anchor.tolist() == [2, 0]
    assert samples.neighbor.tolist() == [1, 1]
    assert samples.lam.tolist() == [0.0, 0.25]


@settings(deadline=None, max_examples=60)
@given(
    sources=st.lists(st.integers(0, 4), min_size=2, max_size=25),
    k=st.integers(1, 8),
    levels=st.integers(1, 50),
    seed=st.integers(0, 1000),
)
def test_neighbours_are_the_nearest_of_other_sources(sources: list[int], k: int, levels: int, seed: int) -> None:
    """Against a loop over all pairs, equal clips included."""
    names = np.array([f"s{source}" for source in sources])
    features = np.random.default_rng(seed).integers(0, levels, (len(names), 2)).astype(np.float64)
    found = neighbors_of_other_sources(features, names, k=k)
    assert found.shape == (len(names), num_neighbors(names, k=k))
    for clip, row in enumerate(found):
        others = [other for other in range(len(names)) if other != clip]
        allowed = [other for other in others if names[other] != names[clip]] if len(set(sources)) > 1 else others
        assert set(row) <= set(allowed)
        distances = sorted(np.linalg.norm(features[allowed] - features[clip], axis=1))
        count = min(found.shape[1], len(allowed))
        np.testing.assert_allclose(np.linalg.norm(features[row[:count]] - features[clip], axis=1), distances[:count])
        assert row.tolist() == [row[place % count] for place in range(len(row))]


def test_search_reaches_beyond_a_crowd_of_the_same_source() -> None:
    """A hundred clips of one source around the origin, three others far away: those three are the neighbours."""
    features = np.concatenate([np.random.default_rng(0).normal(size=(100, 4)), 50.0 + np.eye(3, 4)])
    names = np.array(["crowd"] * 100 + ["a", "b", "c"])
    found = neighbors_of_other_sources(features, names, k=5)
    assert set(found[:100].ravel()) == {100, 101, 102}
    assert set(found[100, :2]) == {101, 102}


@pytest.mark.parametrize(
    ("sources", "k", "expected"), [("abcdef", 5, 5), ("abc", 5, 2), ("aabb", 5, 2), ("aaab", 5, 3), ("aaaa", 2, 2)]
)
def test_k_shrinks_to_what_there_is(sources: str, k: int, expected: int) -> None:
    assert num_neighbors(np.array(list(sources)), k=k) == expected


@pytest.mark.slow
def test_a_hundred_thousand_rows_fit_in_memory() -> None:
    """50 classes of 1020 to 2980 clips, 64 features, a source for every four clips."""
    sizes = [1020 + 40 * index for index in range(50)]
    features, labels = _clusters(sizes, width=64)
    assert len(labels) == 100_000
    sources = np.array([f"source{index // 4}" for index in range(len(labels))])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wanted = {label: 3000 - size for label, size in enumerate(sizes)}
    samples = draw_synthetic(features, labels, sources, num_synthetic=wanted, k=5, seed=0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (sources[samples.anchor] != sources[samples.neighbor]).all()
    assert (labels[samples.anchor] == labels[samples.neighbor]).all()
    assert grown < 500
