"""Confidence intervals of accuracies by the bootstrap over sources. Pure.

Clips of one source are alike, so they are no independent evidence: what is drawn, with replacement, are whole sources,
as many as there are (the cluster bootstrap of Davison and Hinkley 1997, "Bootstrap Methods and their Application",
section 3.8). In each draw a clip counts as often as its source was drawn, and the accuracy is computed anew; the
interval reaches from the 2.5th to the 97.5th percentile of the draws. It tells how far the figure may depend on which
sources happen to test. It does not tell how much it depends on the seed of the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NUM_DRAWS = 2000
_DRAWS_AT_ONCE = 100
_SEED = 0
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % confidence interval of a share, whose ends lie in [0, 1], or of a difference of shares."""

    low: float
    high: float


def drawn_weights(sources: Sequence[str], *, num_draws: int = NUM_DRAWS) -> Iterator[Floats]:
    """How often each of N clips counts in each draw: float64 (draws, N), a hundred draws at a time."""
    names, source_of_clip = np.unique(np.asarray(sources, dtype=np.str_), return_inverse=True)
    generator = np.random.default_rng(_SEED)
    for start in range(0, num_draws, _DRAWS_AT_ONCE):
        count = min(_DRAWS_AT_ONCE, num_draws - start)
        times = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
        yield times[:, source_of_clip].astype(np.float64)


def share_intervals(
    hits: npt.NDArray[np.bool_], members: npt.NDArray[np.bool_], sources: Sequence[str]
) -> list[Interval | None]:
    """Intervals of the shares hits / members of F groups of clips, both bool (N, F); hits count among members alone.

    None for a group whose clips are all of one source, or all hits or no hits: of these every draw says the same, which
    does not mean that the share is certain. Draws without any clip of the group are left out.
    """
    right, counted = (hits & members).astype(np.float64), members.astype(np.float64)
    parts = [(weights @ right, weights @ counted) for weights in drawn_weights(sources)]
    numerators, denominators = (np.concatenate(each) for each in zip(*parts, strict=True))
    names = np.asarray(sources, dtype=np.str_)
    intervals: list[Interval | None] = []
    for group in range(members.shape[1]):
        inside = members[:, group]
        is_mixed = 0 < right[:, group].sum() < inside.sum()
        present = denominators[:, group] > 0
        values = numerators[present, group] / denominators[present, group]
        intervals.append(_interval(values) if is_mixed and len(np.unique(names[inside])) > 1 else None)
    return intervals


def accuracy_intervals(ranks: Integers, labels: Integers, sources: Sequence[str]) -> dict[str, Interval | None]:
    """The intervals of top1, top5 and mean_class_accuracy of N >= 1 clips.

    ranks: the place of each clip's class among all, 1 for the most probable one; ranks and labels int64 (N,).
    """
    hits = np.stack([ranks == 1, ranks <= 5], axis=1)
    top1, top5 = share_intervals(hits, np.ones_like(hits), sources)
    return {"top1": top1, "top5": top5, "mean_class_accuracy": mean_class_interval(ranks == 1, labels, sources)}


def mean_class_interval(right: npt.NDArray[np.bool_], labels: Integers, sources: Sequence[str]) -> Interval | None:
    """The interval of the mean class accuracy of N >= 1 clips, right bool (N,), labels int64 (N,).

    In each draw it is the mean over the classes that have clips in it. None where all clips are of one source, or all
    are right or wrong.
    """
    if len(set(sources)) < 2 or right.all() or not right.any():
        return None
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    values = []
    for weights in drawn_weights(sources):
        weights = weights[:, order]
        counted = np.add.reduceat(weights, starts, axis=1)
        hits = np.add.reduceat(weights * right[order], starts, axis=1)
        present = counted > 0
        values.append((hits / np.where(present, counted, 1.0)).sum(axis=1) / present.sum(axis=1))
    return _interval(np.concatenate(values))


def difference_interval(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], sources: Sequence[str]
) -> Interval | None:
    """The interval of how much the share of ``second`` is above that of ``first``, of the same clips, both bool (N,).

    Both are drawn together, so that what is hard for both does not blur the difference; the ends lie in [-1, 1]. None
    where all clips are of one source, or the two nowhere differ.
    """
    if len(set(sources)) < 2 or bool((first == second).all()):
        return None
    return mean_interval(second.astype(np.float64) - first.astype(np.float64), sources)


def mean_interval(values: Floats, sources: Sequence[str]) -> Interval:
    """The interval of the mean of N values, one a clip, float64 (N,)."""
    return _interval(np.concatenate([weights @ values / weights.sum(axis=1) for weights in drawn_weights(sources)]))


def _interval(values: Floats) -> Interval:
    low, high = np.percentile(values, _PERCENTILES)
    return Interval(low=float(low), high=float(high))
