"""Accuracy by group of clips: by the tags of their names, and by quarters of what was measured on their frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from train.evaluate.intervals import Interval, share_intervals

# The tags by which results are listed, and what their values mean. Other values speak for themselves.
TAG_MEANINGS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "body": {"f": "full body", "u": "upper body", "l": "lower body", "h": "head"},
        "camera_motion": {"cm": "camera moves", "nm": "camera still"},
        "viewpoint": {"fr": "front", "ba": "back", "le": "left", "ri": "right"},
        "quality": {"goo": "good", "med": "medium", "bad": "bad"},
        "num_people": {},
        "length": {"padded": "fewer frames than segments", "full": "as many frames as segments or more"},
        "source": {"seen": "another clip of its source trains", "new": "no clip of its source trains"},
    }
)

TAG_NAMES: Mapping[str, str] = MappingProxyType({"num_people": "number of people"})

# The measured features by whose quarters results are listed, and what small and large values are.
FEATURES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "brightness": ("darkest", "brightest"),
        "blur": ("blurriest", "sharpest"),
        "contrast": ("flattest", "richest in contrast"),
        "motion": ("most still", "most moving"),
    }
)
FEATURE_NAMES: Mapping[str, str] = MappingProxyType({"blur": "sharpness (column blur)"})
NUM_QUARTERS = 4


@dataclass(frozen=True, kw_only=True)
class TagResult:
    """The clips whose file name, length or source puts them in one group."""

    tag: str
    """A key of TAG_MEANINGS."""
    value: str
    """One of the tag's values, empty for clips whose names do not say."""
    num_clips: int
    top1: float
    """In [0, 1]."""
    interval: Interval | None
    """Of top1; None where all clips are of one source, or all right or wrong."""


@dataclass(frozen=True, kw_only=True)
class QuarterResult:
    """The clips in one quarter of the values of a feature, of which the manifest's column has the units."""

    feature: str
    """A key of FEATURES."""
    quarter: int
    """1, of the smallest values, to 4; equal values are in one quarter, so that quarters may be uneven or missing."""
    low: float
    high: float
    """The smallest and the largest value in the quarter."""
    num_clips: int
    top1: float
    interval: Interval | None


def tag_results(
    tags: Mapping[str, Sequence[str]], right: npt.NDArray[np.bool_], sources: Sequence[str]
) -> tuple[TagResult, ...]:
    """One result for each value of a tag that occurs, in the order of TAG_MEANINGS, clips without a value last.

    tags: for keys of TAG_MEANINGS a value a clip, empty where it has none. right: bool (N,).
    """
    groups = [(tag, value) for tag, values in tags.items() for value in _values(tag, values)]
    members = [np.asarray([own == value for own in tags[tag]]) for tag, value in groups]
    return tuple(
        TagResult(tag=tag, value=value, num_clips=count, top1=top1, interval=interval)
        for (tag, value), (count, top1, interval) in zip(groups, _accuracies(members, right, sources), strict=True)
    )


def _values(tag: str, values: Sequence[str]) -> list[str]:
    """The values of a tag that occur: known ones first, then others by size or name, then none."""
    found, known = set(values), TAG_MEANINGS[tag]
    others = sorted(found - set(known) - {""}, key=lambda value: (len(value), value))
    return [value for value in (*known, *others, "") if value in found]


def quarter_results(
    features: Mapping[str, npt.NDArray[np.float64]], right: npt.NDArray[np.bool_], sources: Sequence[str]
) -> tuple[QuarterResult, ...]:
    """One result for each quarter of each feature that has clips. features: float64 (N,) for keys of FEATURES."""
    groups, members = [], []
    for feature, values in features.items():
        quarters = quarters_of(values)
        for quarter in sorted(set(quarters.tolist())):
            groups.append((feature, quarter))
            members.append(quarters == quarter)
    return tuple(
        QuarterResult(
            feature=feature,
            quarter=quarter,
            low=float(features[feature][inside].min()),
            high=float(features[feature][inside].max()),
            num_clips=count,
            top1=top1,
            interval=interval,
        )
        for (feature, quarter), inside, (count, top1, interval) in zip(
            groups, members, _accuracies(members, right, sources), strict=True
        )
    )


def quarters_of(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The quarter of each value, int64 (N,) from 1 to 4: one more than the number of quartiles that it exceeds."""
    quartiles = np.quantile(values, [0.25, 0.5, 0.75])
    quarters: npt.NDArray[np.int64] = 1 + (values[:, None] > quartiles).sum(axis=1).astype(np.int64)
    return quarters


def _accuracies(
    members: Sequence[npt.NDArray[np.bool_]], right: npt.NDArray[np.bool_], sources: Sequence[str]
) -> list[tuple[int, float, Interval | None]]:
    """Number of clips, top-1 and its interval of each group."""
    if not members:
        return []
    columns = np.stack(members, axis=1)
    intervals = share_intervals(np.broadcast_to(right[:, None], columns.shape), columns, sources)
    return [
        (int(inside.sum()), float(right[inside].mean()), interval)
        for inside, interval in zip(members, intervals, strict=True)
    ]
