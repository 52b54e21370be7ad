"""What the script of a page draws: the confusions as a list of cells, the clips, orders of the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from train.confusions.answers import ClipAnswer
from train.confusions.films import ClipPictures

TEMPLATES = ("train.confusions", "confusions")  # of the parts of a page that show this


def page_data(
    confusion: npt.NDArray[np.int64],
    class_names: Sequence[str],
    answers: Sequence[ClipAnswer],
    pictures: ClipPictures,
    *,
    rest: str = "",
) -> dict[str, object]:
    """The JSON of some clips. confusion: int64 (classes, classes), true class by row.

    cells: [true, predicted, clips] of every cell that is not empty. clips, the most telling first: [clip_id, true,
    predicted, rank of the true class, place of its film or -1, [[label, probability], ...]].
    rest: where to find the clips that ``answers`` lacks, in words.
    """
    kept = [answer.clip_id for answer in answers if answer.clip_id in pictures.films]
    film_of = {clip_id: place for place, clip_id in enumerate(kept)}
    return {
        "classes": class_names,
        "cells": [[int(row), int(column), int(confusion[row, column])] for row, column in np.argwhere(confusion)],
        "orders": {"worst": _worst_first(confusion), "alike": alike_together(confusion)},
        "clips": [
            [each.clip_id, each.label, each.shares[0][0], each.rank, film_of.get(each.clip_id, -1), each.shares]
            for each in answers
        ],
        "films": [pictures.films[clip_id] for clip_id in kept],
        "frames": pictures.num_frames,
        "explain": pictures.explain,
        "rest": rest,
    }


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
