"""Measures of classification from probabilities and labels, in NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Metrics:
    """What is measured on some clips; accuracies and the calibration error lie in [0, 1]."""

    num_clips: int
    loss: float
    """Mean of -log p(label), without smoothing."""
    top1: float
    top5: float
    """Of the five best classes; of all where there are fewer."""
    mean_class_accuracy: float
    calibration_error: float
    confusion: Integers
    """Counts, int64 (classes, classes): true class by row, predicted class by column."""


def measure(probabilities: Floats, labels: Integers) -> Metrics:
    """All measures of N >= 1 clips: probabilities float64 (N, classes), labels int64 (N,)."""
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), num_classes=probabilities.shape[1])
    return Metrics(
        num_clips=len(labels),
        loss=mean_loss(probabilities, labels),
        top1=top_k_accuracy(probabilities, labels, k=1),
        top5=top_k_accuracy(probabilities, labels, k=5),
        mean_class_accuracy=mean_class_accuracy(confusion),
        calibration_error=expected_calibration_error(probabilities, labels),
        confusion=confusion,
    )


def mean_loss(probabilities: Floats, labels: Integers) -> float:
    """Mean of -log p(label), finite also where that is 0."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())


def top_k_accuracy(probabilities: Floats, labels: Integers, *, k: int) -> float:
    """Share of clips whose label is among the k most probable classes; of equal ones the lower label comes first."""
    return float((label_ranks(probabilities, labels) <= k).mean())


def label_ranks(probabilities: Floats, labels: Integers) -> Integers:
    """The place of each clip's label among its classes, int64 (N,), 1 for the most probable one.

    Of classes that are equally probable the lower label comes first.
    """
    chosen = probabilities[np.arange(len(labels)), labels][:, None]
    before = np.arange(probabilities.shape[1]) < labels[:, None]
    ahead = (probabilities > chosen) | ((probabilities == chosen) & before)
    ranks: Integers = 1 + ahead.sum(axis=1).astype(np.int64)
    return ranks


def confusion_matrix(labels: Integers, predictions: Integers, *, num_classes: int) -> Integers:
    """Counts, int64 (classes, classes): true class by row, predicted class by column."""
    cells = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def mean_class_accuracy(confusion: Integers) -> float:
    """The share of a class's clips that are right, averaged over the classes that have clips."""
    counts = confusion.sum(axis=1)
    present = counts > 0
    return float((np.diag(confusion)[present] / counts[present]).mean())


def precision_recall(confusion: Integers) -> tuple[Floats, Floats]:
    """Precision and recall of each class, float64 (classes,); 0 where no clip is predicted or there is none."""
    right = np.diag(confusion).astype(np.float64)
    precision = right / np.maximum(1, confusion.sum(axis=0))
    recall = right / np.maximum(1, confusion.sum(axis=1))
    return precision, recall


NUM_BINS = 15


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The clips whose confidence, the probability of the predicted class, lies in one bin."""

    low: float
    high: float
    """The bin is (low, high]."""
    num_clips: int
    confidence: float
    """Mean over its clips; 0, like the next, where it has none."""
    accuracy: float


def reliability_bins(probabilities: Floats, labels: Integers, *, num_bins: int = NUM_BINS) -> list[ReliabilityBin]:
    """The bins (i/n, (i+1)/n] of confidence, for the reliability diagram."""
    confidence, right, bins = _binned(probabilities, labels, num_bins)
    counts = np.bincount(bins, minlength=num_bins)
    means = [
        np.bincount(bins, weights=each, minlength=num_bins) / np.maximum(1, counts) for each in (confidence, right)
    ]
    return [
        ReliabilityBin(
            low=index / num_bins,
            high=(index + 1) / num_bins,
            num_clips=int(counts[index]),
            confidence=float(means[0][index]),
            accuracy=float(means[1][index]),
        )
        for index in range(num_bins)
    ]


def expected_calibration_error(probabilities: Floats, labels: Integers, *, num_bins: int = NUM_BINS) -> float:
    """Mean gap between confidence and accuracy over the bins (i/n, (i+1)/n] of confidence, weighted by their clips.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    confidence, right, bins = _binned(probabilities, labels, num_bins)
    gaps = np.bincount(bins, weights=right - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))


def _binned(probabilities: Floats, labels: Integers, num_bins: int) -> tuple[Floats, npt.NDArray[np.bool_], Integers]:
    """Confidence, whether it is right, and the bin of each clip."""
    confidence: Floats = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    return confidence, right, bins
