"""What a model answered to single clips, as pages show it: the most telling clips first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.learn.metrics import Floats, Integers, label_ranks

MOST_CLIPS = 10_000  # that a page lists
_TOP = 5


@dataclass(frozen=True, kw_only=True)
class ClipAnswer:
    """What a model answered to one clip."""

    clip_id: str
    label: int
    """Of its class."""
    rank: int
    """The place of its class among all, 1 for the most probable one."""
    shares: tuple[tuple[int, float], ...]
    """Label and probability of the five most probable classes, and of its own where that is none of them."""

    def __post_init__(self) -> None:
        if not self.shares or not all(0 <= share <= 1 for _, share in self.shares):
            raise ValueError(f"the answer to {self.clip_id!r} has no probabilities in [0, 1]")


def telling_answers(clip_ids: Sequence[str], labels: Integers, probabilities: Floats) -> tuple[ClipAnswer, ...]:
    """The MOST_CLIPS most telling of N clips. labels: int64 (N,); probabilities: float64 (N, classes)."""
    places = telling_order(probabilities, labels)[:MOST_CLIPS]
    ranks = label_ranks(probabilities[places], labels[places])
    return tuple(
        ClipAnswer(
            clip_id=clip_ids[place],
            label=int(labels[place]),
            rank=int(rank),
            shares=_shares(probabilities[place], int(labels[place])),
        )
        for place, rank in zip(places, ranks, strict=True)
    )


def _shares(probabilities: npt.NDArray[np.float64], label: int) -> tuple[tuple[int, float], ...]:
    best = [int(other) for other in np.argsort(-probabilities, kind="stable")[:_TOP]]
    shown = best if label in best else [*best, label]
    return tuple((other, round(float(probabilities[other]), 4)) for other in shown)


def telling_order(probabilities: Floats, labels: Integers) -> list[int]:
    """The places of the clips: mistakes first, the surest ahead; then those that are right, the surest last."""
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(predicted)), predicted]
    wrong = predicted != labels
    order = np.lexsort((np.where(wrong, -confidence, confidence), ~wrong))
    return [int(place) for place in order]
