"""What is measured on the test clips of one split, and over several splits. Pure: from probabilities to results."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from train.learn.metrics import Metrics, measure, precision_recall
from train.trained.calibration import Calibration, tempered

MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "top1": "top-1",
        "top5": "top-5",
        "mean_class_accuracy": "mean class accuracy",
        "calibration_error": "expected calibration error",
    }
)

# The tags by which results are listed, and what their values mean.
TAG_MEANINGS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "camera_motion": {"cm": "camera moves", "nm": "camera still"},
        "quality": {"goo": "good", "med": "medium", "bad": "bad"},
        "viewpoint": {"fr": "front", "ba": "back", "le": "left", "ri": "right"},
        "length": {"padded": "fewer frames than segments", "full": "as many frames as segments or more"},
        "source": {"seen": "another clip of its source trains", "new": "no clip of its source trains"},
    }
)


@dataclass(frozen=True, kw_only=True)
class ClassResult:
    """One class. Precision and recall lie in [0, 1]; they are 0 where there is nothing to count."""

    class_name: str
    num_clips: int
    """Test clips of this class."""
    num_predicted: int
    """Test clips of any class that were taken for this one."""
    precision: float
    recall: float


@dataclass(frozen=True, kw_only=True)
class ConfusedPair:
    """Clips of one class that were taken for another."""

    true_class: str
    predicted_class: str
    clip_ids: tuple[str, ...]


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


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitResult:
    """Everything about one split."""

    split: str
    class_names: tuple[str, ...]
    clip_ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    """P(class | clip), (N, classes)."""
    metrics: Metrics
    uncalibrated: Metrics | None
    """The same before calibration; None, like the next field, where that was not asked for."""
    calibration: Calibration | None
    classes: tuple[ClassResult, ...]
    confused: tuple[ConfusedPair, ...]
    tags: tuple[TagResult, ...]
    remarks: tuple[str, ...]
    """Sentences about what the numbers are not."""


def split_result(
    *,
    split: str,
    class_names: Sequence[str],
    clip_ids: Sequence[str],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    tags: Mapping[str, Sequence[str]],
    remarks: Sequence[str],
    calibration: Calibration | None = None,
) -> SplitResult:
    """Measure N >= 1 clips. tags: for each key of TAG_MEANINGS a value a clip, empty where the clip has none.

    probabilities: as the model gives them; they are calibrated here.
    """
    uncalibrated = None
    if calibration is not None:
        uncalibrated = measure(probabilities, labels)
        probabilities = tempered(probabilities, calibration.temperature)
    metrics = measure(probabilities, labels)
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    return SplitResult(
        split=split,
        class_names=tuple(class_names),
        clip_ids=tuple(clip_ids),
        labels=labels,
        probabilities=probabilities,
        metrics=metrics,
        uncalibrated=uncalibrated,
        calibration=calibration,
        classes=_class_results(class_names, metrics),
        confused=_confused_pairs(class_names, clip_ids, labels, predicted),
        tags=tuple(each for tag, values in tags.items() for each in _tag_results(tag, values, predicted == labels)),
        remarks=tuple(remarks),
    )


def _class_results(class_names: Sequence[str], metrics: Metrics) -> tuple[ClassResult, ...]:
    precision, recall = precision_recall(metrics.confusion)
    tested, predicted = metrics.confusion.sum(axis=1), metrics.confusion.sum(axis=0)
    return tuple(
        ClassResult(
            class_name=name,
            num_clips=int(tested[label]),
            num_predicted=int(predicted[label]),
            precision=float(precision[label]),
            recall=float(recall[label]),
        )
        for label, name in enumerate(class_names)
    )


def _confused_pairs(
    class_names: Sequence[str],
    clip_ids: Sequence[str],
    labels: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
) -> tuple[ConfusedPair, ...]:
    """Every pair of true and predicted class that occurs, the most frequent first, then by name."""
    pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for clip_id, label, prediction in zip(clip_ids, labels, predicted, strict=True):
        if label != prediction:
            pairs[class_names[label], class_names[prediction]].append(clip_id)
    ordered = sorted(pairs.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(
        ConfusedPair(true_class=true, predicted_class=wrong, clip_ids=tuple(clips)) for (true, wrong), clips in ordered
    )


def _tag_results(tag: str, values: Sequence[str], right: npt.NDArray[np.bool_]) -> list[TagResult]:
    """One result for each value that occurs, in the order of TAG_MEANINGS, clips without a value last."""
    known = [*TAG_MEANINGS[tag], ""]
    places = {value: [index for index, own in enumerate(values) if own == value] for value in known}
    return [
        TagResult(tag=tag, value=value, num_clips=len(clips), top1=float(right[clips].mean()))
        for value, clips in places.items()
        if clips
    ]


def summary(results: Sequence[SplitResult]) -> dict[str, tuple[float, float | None]]:
    """Mean and sample standard deviation (n - 1; None for one split) of each of MEASURES over the splits."""
    values = {key: [float(getattr(result.metrics, key)) for result in results] for key in MEASURES}
    return {
        key: (statistics.fmean(each), statistics.stdev(each) if len(each) > 1 else None) for key, each in values.items()
    }
