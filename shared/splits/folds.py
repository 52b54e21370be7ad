"""Folds of whole groups with classes kept even: those of scikit-learn's StratifiedGroupKFold, found much faster.

Its rule: the groups, shuffled, then ordered by the standard deviation of their counts of classes, the largest first, go
one by one into the fold after which the classes are spread most evenly over the folds; where folds are as good as each
other, into the one with the fewest members. scikit-learn works out the spread of all classes anew for every fold and
group, in a table of groups x classes. Only the classes of the group change, so only they are worked out here.

Folds that are equally good differ in the last bits only, and these decide. Sums are therefore taken in NumPy's order:
along an array in pairs, across arrays one after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from shared.machine.compiled import compiled

_RELATIVE, _ABSOLUTE = 1e-5, 1e-8  # numpy.isclose's tolerances
_PAIRED_FROM = 128  # numbers; NumPy adds up to so many with eight sums side by side, and halves longer arrays


def stratified_group_folds(
    labels: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], *, num_folds: int, seed: int
) -> npt.NDArray[np.int64]:
    """The fold of each of N members: int64 (N,), in 0 .. num_folds - 1.

    As ``StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)``. labels: (N,), 0 .. C - 1, each present.
    groups: (N,), 0 .. G - 1, each present, num_folds <= G, numbered in the order of their names.
    """
    class_sizes = np.bincount(labels)
    num_classes, num_groups = len(class_sizes), int(groups.max()) + 1
    cells, counts = np.unique(groups * num_classes + labels, return_counts=True)
    classes = cells % num_classes
    starts = np.searchsorted(cells, np.arange(num_groups + 1) * num_classes)
    order = np.arange(num_groups)
    np.random.RandomState(seed).shuffle(order)
    spreads = _spreads(starts, classes, counts.astype(np.float64), num_classes)
    order = order[np.argsort(-spreads[order], kind="stable")]
    folds = _assign(order, starts, classes, counts.astype(np.float64), class_sizes.astype(np.float64), num_folds)
    return np.asarray(folds[groups])


@compiled("float64(float64[::1], int64, int64)")
def _paired_sum(values: Any, start: int, stop: int) -> Any:
    """The sum of a part of an array as numpy.sum adds: see pairwise_sum in NumPy's loops_utils.h.src."""
    length = stop - start
    if length < 8:
        total = 0.0
        for index in range(start, stop):
            total += values[index]
        return total
    if length <= _PAIRED_FROM:
        a, b, c, d = values[start], values[start + 1], values[start + 2], values[start + 3]
        e, f, g, h = values[start + 4], values[start + 5], values[start + 6], values[start + 7]
        whole = length - length % 8
        for index in range(start + 8, start + whole, 8):
            a += values[index]
            b += values[index + 1]
            c += values[index + 2]
            d += values[index + 3]
            e += values[index + 4]
            f += values[index + 5]
            g += values[index + 6]
            h += values[index + 7]
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))
        for index in range(start + whole, stop):
            total += values[index]
        return total
    half = length // 2
    half -= half % 8
    return _paired_sum(values, start, start + half) + _paired_sum(values, start + half, stop)


@compiled("float64[::1](int64[::1], int64[::1], float64[::1], int64)")
def _spreads(starts: Any, classes: Any, counts: Any, num_classes: int) -> Any:
    """The standard deviation of each group's counts over all classes: (G,)."""
    spreads = np.empty(len(starts) - 1)
    squares = np.empty(num_classes)
    for group in range(len(spreads)):
        mean = counts[starts[group] : starts[group + 1]].sum() / num_classes
        squares[:] = (0.0 - mean) * (0.0 - mean)
        for cell in range(starts[group], starts[group + 1]):
            squares[classes[cell]] = (counts[cell] - mean) * (counts[cell] - mean)
        spreads[group] = np.sqrt(_paired_sum(squares, 0, num_classes) / num_classes)
    return spreads


@compiled("float64(float64[::1], boolean)")
def _sum(values: Any, paired: bool) -> Any:
    """The sum of all values, in pairs as NumPy adds neighbours in memory, or one after the other."""
    if paired:
        return _paired_sum(values, 0, len(values))
    total = 0.0
    for value in values:
        total += value
    return total


@compiled("float64(float64[::1], float64[::1], boolean)")
def _deviation(shares: Any, squares: Any, paired: bool) -> Any:
    """The standard deviation of a class's shares over the folds. squares: room for as many numbers."""
    length = len(shares)
    mean = _sum(shares, paired) / length
    for fold in range(length):
        squares[fold] = (shares[fold] - mean) * (shares[fold] - mean)
    return np.sqrt(_sum(squares, paired) / length)


@compiled("int64[::1](int64[::1], int64[::1], int64[::1], float64[::1], float64[::1], int64)")
def _assign(order: Any, starts: Any, classes: Any, counts: Any, class_sizes: Any, num_folds: int) -> Any:
    """The fold of each group: (G,)."""
    num_classes = len(class_sizes)
    paired = num_classes == 1  # the folds then lie side by side in memory, and NumPy adds them in pairs
    held = np.zeros((num_classes, num_folds))
    shares = np.zeros((num_classes, num_folds))
    squares = np.empty(num_folds)
    deviations = np.zeros(num_classes)
    sizes = np.zeros(num_folds)
    fold_of = np.empty(len(order), np.int64)
    for group in order:
        first, last = starts[group], starts[group + 1]
        best, least, fewest = 0, np.inf, np.inf
        for fold in range(num_folds):
            for cell in range(first, last):
                own = classes[cell]
                before = shares[own, fold]
                shares[own, fold] = (held[own, fold] + counts[cell]) / class_sizes[own]
                deviations[own] = _deviation(shares[own], squares, paired)
                shares[own, fold] = before
            unevenness = _paired_sum(deviations, 0, num_classes) / num_classes
            is_close = abs(unevenness - least) <= _ABSOLUTE + _RELATIVE * abs(least)
            if unevenness < least or (is_close and sizes[fold] < fewest):
                best, least, fewest = fold, unevenness, sizes[fold]
        for cell in range(first, last):
            own = classes[cell]
            held[own, best] += counts[cell]
            sizes[best] += counts[cell]
            shares[own, best] = held[own, best] / class_sizes[own]
            deviations[own] = _deviation(shares[own], squares, paired)
        fold_of[group] = best
    return fold_of
