"""Measures against scikit-learn and against a loop."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from train.learn.metrics import confusion_matrix, expected_calibration_error, measure, precision_recall, top_k_accuracy

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 7, 200)
LOGITS = RNG.normal(size=(200, 8)) + 1.5 * np.eye(8)[LABELS]  # class 7 has no clips
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
PREDICTIONS = PROBABILITIES.argmax(axis=1)


def test_measures_are_scikit_learns() -> None:
    found = measure(PROBABILITIES, LABELS)
    assert found.num_clips == 200
    assert found.top1 == pytest.approx(sk.accuracy_score(LABELS, PREDICTIONS))
    assert found.top5 == pytest.approx(sk.top_k_accuracy_score(LABELS, PROBABILITIES, k=5, labels=range(8)))
    recall = sk.recall_score(LABELS, PREDICTIONS, labels=range(7), average="macro", zero_division=0)
    assert found.mean_class_accuracy == pytest.approx(recall)
    assert found.loss == pytest.approx(sk.log_loss(LABELS, PROBABILITIES, labels=range(8)))
    assert np.array_equal(found.confusion, sk.confusion_matrix(LABELS, PREDICTIONS, labels=range(8)))


def test_precision_and_recall_are_scikit_learns() -> None:
    precision, recall = precision_recall(confusion_matrix(LABELS, PREDICTIONS, num_classes=8))
    expected = sk.precision_recall_fscore_support(LABELS, PREDICTIONS, labels=range(8), zero_division=0)
    np.testing.assert_allclose(precision, expected[0])
    np.testing.assert_allclose(recall, expected[1])


def test_calibration_error_by_a_loop() -> None:
    confidence, right = PROBABILITIES.max(axis=1), PREDICTIONS == LABELS
    expected = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert expected_calibration_error(PROBABILITIES, LABELS) == pytest.approx(expected)


def test_a_sure_and_right_classifier_is_calibrated() -> None:
    assert expected_calibration_error(np.eye(4), np.arange(4)) == 0
    assert expected_calibration_error(np.eye(4), np.array([1, 2, 3, 0])) == 1


def test_top_k_with_ties_and_few_classes() -> None:
    even = np.full((3, 3), 1 / 3)
    assert top_k_accuracy(even, np.array([0, 1, 2]), k=1) == pytest.approx(1 / 3)
    assert top_k_accuracy(even, np.array([0, 1, 2]), k=2) == pytest.approx(2 / 3)
    assert top_k_accuracy(even, np.array([0, 1, 2]), k=5) == 1.0


def test_a_probability_of_zero_gives_a_finite_loss() -> None:
    assert np.isfinite(measure(np.array([[1.0, 0.0]]), np.array([1])).loss)
