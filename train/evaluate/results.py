"""What is measured on the test clips of one split, and over several splits. Pure: from probabilities to results."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from train.data.views import Views
from train.evaluate.groups import QuarterResult, TagResult, quarter_results, tag_results
from train.evaluate.intervals import Interval, accuracy_intervals
from train.learn.metrics import Metrics, ReliabilityBin, label_ranks, measure, precision_recall, reliability_bins
from train.trained.calibration import Calibration, tempered

MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "top1": "top-1",
        "top5": "top-5",
        "mean_class_accuracy": "mean class accuracy",
        "calibration_error": "expected calibration error",
    }
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipFacts:
    """What is known of N test clips before the model sees them."""

    clip_ids: tuple[str, ...]
    sources: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    tags: Mapping[str, Sequence[str]]
    """For keys of TAG_MEANINGS a value a clip, empty where the clip has none."""
    features: Mapping[str, npt.NDArray[np.float64]]
    """For keys of FEATURES a value a clip."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Which model answered."""

    checkpoint: str
    """The name of its file."""
    epoch: int
    """Epochs that it was trained for."""
    parameters: int


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


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitResult:
    """Everything about one split."""

    split: str
    model: ModelFacts
    class_names: tuple[str, ...]
    clip_ids: tuple[str, ...]
    sources: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    """P(class | clip), (N, classes)."""
    metrics: Metrics
    intervals: Mapping[str, Interval | None]
    """Of the accuracies among MEASURES; None where all clips are of one source, or all right or wrong."""
    uncalibrated: Metrics | None
    """The same before calibration; None, like the next field, where that was not asked for."""
    calibration: Calibration | None
    reliability: tuple[ReliabilityBin, ...]
    classes: tuple[ClassResult, ...]
    confused: tuple[ConfusedPair, ...]
    tags: tuple[TagResult, ...]
    quarters: tuple[QuarterResult, ...]
    remarks: tuple[str, ...]
    """Sentences about what the numbers are not."""

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The most probable class of each clip, int64 (N,)."""
        labels: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1).astype(np.int64)
        return labels

    @property
    def ranks(self) -> npt.NDArray[np.int64]:
        """The place of each clip's class among all, 1 for the most probable one, int64 (N,)."""
        return label_ranks(self.probabilities, self.labels)

    @property
    def clearest_mistake(self) -> str:
        """The id of the clip that the model was surest of and wrong; where all are right, the one it was surest of."""
        is_wrong = self.predicted != self.labels
        return self.clip_ids[int((self.probabilities.max(axis=1) + is_wrong).argmax())]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """The results of one or several splits of a run."""

    run: str
    """Its name, as it is printed."""
    folder: Path
    views: Views
    calibrated: bool
    dataset_id: str
    results: tuple[SplitResult, ...]


def split_result(
    *,
    split: str,
    model: ModelFacts,
    class_names: Sequence[str],
    clips: ClipFacts,
    probabilities: npt.NDArray[np.float64],
    remarks: Sequence[str],
    calibration: Calibration | None = None,
) -> SplitResult:
    """Measure N >= 1 clips. probabilities: (N, classes) as the model gives them; they are calibrated here."""
    labels, uncalibrated = clips.labels, None
    if calibration is not None:
        uncalibrated = measure(probabilities, labels)
        probabilities = tempered(probabilities, calibration.temperature)
    metrics = measure(probabilities, labels)
    ranks = label_ranks(probabilities, labels)
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    return SplitResult(
        split=split,
        model=model,
        class_names=tuple(class_names),
        clip_ids=clips.clip_ids,
        sources=clips.sources,
        labels=labels,
        probabilities=probabilities,
        metrics=metrics,
        intervals=accuracy_intervals(ranks, labels, clips.sources),
        uncalibrated=uncalibrated,
        calibration=calibration,
        reliability=tuple(reliability_bins(probabilities, labels)),
        classes=_class_results(class_names, metrics),
        confused=_confused_pairs(class_names, clips.clip_ids, labels, predicted),
        tags=tag_results(clips.tags, ranks == 1, clips.sources),
        quarters=quarter_results(clips.features, ranks == 1, clips.sources),
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


def summary(results: Sequence[SplitResult]) -> dict[str, tuple[float, float | None]]:
    """Mean and sample standard deviation (n - 1; None for one split) of each of MEASURES over the splits."""
    values = {key: [float(getattr(result.metrics, key)) for result in results] for key in MEASURES}
    return {
        key: (statistics.fmean(each), statistics.stdev(each) if len(each) > 1 else None) for key, each in values.items()
    }
