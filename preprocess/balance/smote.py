"""SMOTE's own choice of anchor, neighbour and lam, read off exactly from what imbalanced-learn returns.

imbalanced-learn returns samples, not how it made them. But SMOTE only ever computes x_a + lam·(x_n - x_a): run on
one-hot rows, a sample is a row of two numbers that names its parents. So that parent and neighbour can be told apart
(the point of (a, n, lam) is that of (n, a, 1 - lam)), every clip stands twice, as an anchor in columns 0..N-1 and as a
neighbour in columns N..2N-1; the neighbour estimator, which looks in the real feature space, leads from the former to
the latter. The rows are sparse: memory grows with N, not with its square.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from imblearn.over_sampling import SMOTE
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors

_LONGEST_REACH = 8  # times k' + 1 neighbours are looked at in search of some of another source
_OUTSIDER = -1  # label of a row that belongs to no class: imbalanced-learn asks for two classes at least

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class SyntheticSamples:
    """M samples, sample m being (1 - lam)·anchor + lam·neighbour, in SMOTE's order: class by class, by label.

    anchor, neighbor: int64 (M,), rows of the features. lam: float64 (M,), in [0, 1).
    """

    anchor: IntArray
    neighbor: IntArray
    lam: FloatArray


def draw_synthetic(
    features: FloatArray,
    labels: IntArray,
    sources: npt.NDArray[np.str_],
    *,
    num_synthetic: dict[int, int],
    k: int,
    seed: int,
    advance: Callable[[int], None] = lambda count: None,
) -> SyntheticSamples:
    """Draw as imblearn.over_sampling.SMOTE does, with ``random_state=numpy.random.RandomState(seed)``.

    An instance and not the number: with a number SMOTE draws the same again for every class. features: float64 (N, D);
    labels: int64 (N,), not negative; sources: (N,). num_synthetic: how many for which label; such a class needs two
    clips. k: neighbours to draw from (see ``neighbors_of_other_sources``). advance is told of clips searched.
    """
    num_clips = len(labels)
    neighbors = _FeatureSpaceNeighbors(features, sources, k=k, advance=advance)
    # Row i < N is clip i as an anchor, row N + i the same clip as a neighbour, row 2N the outsider.
    rows = sparse.eye(2 * num_clips + 1, format="csr", dtype=np.float64)
    row_labels = np.concatenate([labels, labels, [_OUTSIDER]])
    totals = {label: 2 * int((labels == label).sum()) + count for label, count in num_synthetic.items()}
    smote = SMOTE(sampling_strategy=totals, k_neighbors=neighbors, random_state=np.random.RandomState(seed))
    resampled, _ = smote.fit_resample(rows, row_labels)
    return _read_samples(resampled[2 * num_clips + 1 :], nearest=neighbors.nearest)


def _read_samples(samples: Any, *, nearest: IntArray) -> SyntheticSamples:
    """Read CSR rows (M, 2N + 1): 1 - lam in the anchor's column, lam in N + the neighbour's.

    lam = 0 leaves no trace of the neighbour, and has none of it: the anchor's nearest stands in, from int64 (N,).
    """
    num_clips = len(nearest)
    entries = samples.tocoo()
    is_neighbor = entries.col >= num_clips
    anchor = np.full(samples.shape[0], -1, dtype=np.int64)
    anchor[entries.row[~is_neighbor]] = entries.col[~is_neighbor]
    neighbor = nearest[anchor]
    lam = np.zeros(samples.shape[0])
    neighbor[entries.row[is_neighbor]] = entries.col[is_neighbor] - num_clips
    lam[entries.row[is_neighbor]] = entries.data[is_neighbor]
    return SyntheticSamples(anchor=anchor, neighbor=neighbor, lam=lam)


class _FeatureSpaceNeighbors(BaseEstimator):  # type: ignore[misc]
    """A neighbour estimator for SMOTE: is fitted on the one-hot rows of a class and looks in the feature space.

    nearest: int64 (N,), of the clips of classes seen so far the nearest neighbour, else -1.
    """

    def __init__(
        self, features: FloatArray, sources: npt.NDArray[np.str_], *, k: int, advance: Callable[[int], None]
    ) -> None:
        self.features = features
        self.sources = sources
        self.k = k
        self.advance = advance
        self.nearest: IntArray = np.full(len(features), -1, dtype=np.int64)

    def __sklearn_clone__(self) -> Self:
        """SMOTE clones its estimator; this one has nothing fitted to lose, and features too large to copy."""
        return self

    def fit(self, rows: Any, labels: None = None) -> Self:
        """Take the class whose one-hot rows (2n, 2N + 1), n anchors and then n neighbours, these are."""
        columns = rows.indices.astype(np.int64)
        self.clips_ = columns[: len(columns) // 2]
        return self

    def kneighbors(self, rows: Any, return_distance: bool = False) -> IntArray:
        """Row numbers (n, 1 + k') for the n anchors: an anchor itself, which SMOTE skips, and its neighbours."""
        if return_distance:
            raise ValueError("only the row numbers are known here")
        clips = self.clips_
        found = neighbors_of_other_sources(self.features[clips], self.sources[clips], k=self.k)
        self.nearest[clips] = clips[found[:, 0]]
        self.advance(len(clips))
        return np.hstack([np.arange(len(clips))[:, None], len(clips) + found])

    def kneighbors_graph(self, rows: Any) -> Any:
        """The same as a CSR matrix (n, 2n) of ones; part of what SMOTE takes for a neighbour estimator."""
        found = self.kneighbors(rows)[:, 1:]
        starts = np.arange(0, found.size + 1, found.shape[1])
        return sparse.csr_matrix((np.ones(found.size), found.ravel(), starts), (len(found), 2 * len(found)))


def num_neighbors(sources: npt.NDArray[np.str_], *, k: int) -> int:
    """k', how many neighbours a clip of a class is given: at most k, and at most what any clip of it can have.

    A clip can have those of other sources, or, where the class has one source only, all others.
    """
    _, counts = np.unique(sources, return_counts=True)
    return min(k, len(sources) - (1 if len(counts) == 1 else int(counts.min())))


def neighbors_of_other_sources(features: FloatArray, sources: npt.NDArray[np.str_], *, k: int) -> IntArray:
    """The nearest clips of other sources within one class, nearest first: int64 (n, k'), k' from ``num_neighbors``.

    features: float64 (n, D), n >= 2, Euclidean distance. A clip that has fewer than k' of other sources repeats them in
    turn. A class of one source: the nearest other clips. A clip is never its own neighbour. Where every clip has a
    source of its own and no two clips are equal, these are scikit-learn's ``kneighbors``.
    """
    num_clips = len(features)
    _, groups, counts = np.unique(sources, return_inverse=True, return_counts=True)
    if len(counts) == 1:
        groups, counts = np.arange(num_clips), np.ones(num_clips, dtype=np.int64)
    width = num_neighbors(sources, k=k)
    wanted = np.minimum(width, num_clips - counts[groups])
    index = NearestNeighbors(n_neighbors=width + 1).fit(features)
    result = np.empty((num_clips, width), dtype=np.int64)
    pending, reach = np.arange(num_clips), width + 1
    while len(pending) and reach <= min(num_clips, _LONGEST_REACH * (width + 1)):
        found = index.kneighbors(features[pending], n_neighbors=reach, return_distance=False)
        foreign = groups[found] != groups[pending][:, None]
        enough = foreign.sum(axis=1) >= wanted[pending]
        done = pending[enough]
        result[done] = _first_in_turn(found[enough], foreign[enough], wanted[done], width=width)
        pending, reach = pending[~enough], 2 * reach
    # The rest stand in a crowd of their own source: search among the others alone.
    for group in np.unique(groups[pending]):
        members, others = pending[groups[pending] == group], np.flatnonzero(groups != group)
        count = int(wanted[members[0]])
        index = NearestNeighbors(n_neighbors=count).fit(features[others])
        found = others[index.kneighbors(features[members], return_distance=False)]
        result[members] = found[:, np.arange(width) % count]
    return result


def _first_in_turn(found: IntArray, foreign: npt.NDArray[np.bool_], wanted: IntArray, *, width: int) -> IntArray:
    """The first ``wanted`` of the marked entries of each row, again from the start until there are ``width``."""
    marked_first = np.argsort(~foreign, axis=1, kind="stable")
    places = np.take_along_axis(marked_first, np.arange(width)[None, :] % wanted[:, None], axis=1)
    return np.take_along_axis(found, places, axis=1)
