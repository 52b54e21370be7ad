"""What the report's script draws of a split: its confusions as a list of cells, its clips, orders of its classes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from train.evaluate.clip_results import telling_order
from train.evaluate.results import SplitResult

MOST_CLIPS = 10_000  # in the page of a split; predictions.csv has all
_TOP = 5


def page_data(
    result: SplitResult, *, films: Mapping[str, str], num_frames: int, explain: tuple[str, str]
) -> dict[str, object]:
    """The JSON of a split.

    cells: [true, predicted, clips] of every cell that is not empty. clips, the most telling first: [clip_id, true,
    predicted, rank of the true class, place of its film or -1, [[label, probability], ...]].
    """
    confusion = result.metrics.confusion
    places = telling_order(result)[:MOST_CLIPS]
    kept = [result.clip_ids[place] for place in places if result.clip_ids[place] in films]
    film_of = {clip_id: place for place, clip_id in enumerate(kept)}
    return {
        "split": result.split,
        "classes": result.class_names,
        "cells": [[int(row), int(column), int(confusion[row, column])] for row, column in np.argwhere(confusion)],
        "orders": {"worst": _worst_first(confusion), "alike": alike_together(confusion)},
        "clips": _clip_rows(result, places, film_of),
        "films": [films[clip_id] for clip_id in kept],
        "frames": num_frames,
        "explain": explain,
    }


def _clip_rows(result: SplitResult, places: list[int], film_of: Mapping[str, int]) -> list[list[object]]:
    ranks = result.ranks
    rows: list[list[object]] = []
    for place in places:
        shares, label = result.probabilities[place], int(result.labels[place])
        best = [int(other) for other in np.argsort(-shares, kind="stable")[:_TOP]]
        shown = best if label in best else [*best, label]
        rows.append(
            [
                result.clip_ids[place],
                label,
                best[0],
                int(ranks[place]),
                film_of.get(result.clip_ids[place], -1),
                [[other, round(float(shares[other]), 4)] for other in shown],
            ]
        )
    return rows


def _worst_first(confusion: npt.NDArray[np.int64]) -> list[int]:
    """Labels by falling number of mistakes."""
    mistakes = confusion.sum(axis=1) - np.diag(confusion)
    return [int(label) for label in np.argsort(-mistakes, kind="stable")]


def alike_together(confusion: npt.NDArray[np.int64]) -> list[int]:
    """Labels in the order of a hierarchical clustering (average linkage) by how often classes are taken for each other.

    The distance of two classes is 1 less the larger share of one that is taken for the other.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(confusion) < 3:
        return list(range(len(confusion)))
    shares = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    distances = 1 - np.maximum(shares, shares.T)
    np.fill_diagonal(distances, 0)
    return [int(label) for label in leaves_list(linkage(squareform(distances, checks=False), method="average"))]
