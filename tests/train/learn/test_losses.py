"""Losses against torch's own and against formulas written down a second time in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from train.learn.losses import LossSettings, class_weights, clip_losses, soft_targets

LOGITS = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 3
LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(smoothing: float) -> None:
    targets = soft_targets(LABELS, num_classes=5, smoothing=smoothing)
    expected = F.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing, reduction="none")
    torch.testing.assert_close(clip_losses(LOGITS, targets, LossSettings()), expected)


def test_soft_targets_sum_to_one() -> None:
    torch.testing.assert_close(soft_targets(LABELS, num_classes=5, smoothing=0.3).sum(dim=1), torch.ones(7))


def test_class_balanced_weights_are_those_of_the_paper() -> None:
    counts = np.array([548, 105, 105, 0])
    weights = class_weights(counts, beta=0.999)
    raw = [(1 - 0.999) / (1 - 0.999**count) for count in (548, 105, 105)]
    np.testing.assert_allclose(weights[:3], np.array(raw) * 3 / sum(raw), rtol=1e-6)
    assert weights[3] == 0
    np.testing.assert_allclose(class_weights(counts, beta=0.0)[:3], 1)


def test_class_balanced_loss_is_torchs_weighted_one() -> None:
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0, 0.1])
    targets = soft_targets(LABELS, num_classes=5, smoothing=0.0)
    losses = clip_losses(LOGITS, targets, LossSettings(name="class-balanced"), weights)
    torch.testing.assert_close(losses, F.cross_entropy(LOGITS, LABELS, weight=weights, reduction="none"))


def test_focal_loss_is_the_papers() -> None:
    targets = soft_targets(LABELS, num_classes=5, smoothing=0.0)
    losses = clip_losses(LOGITS, targets, LossSettings(name="focal", gamma=2.0))
    logits = LOGITS.double().numpy()
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    chosen = probability[np.arange(7), LABELS.numpy()]
    np.testing.assert_allclose(losses.numpy(), -((1 - chosen) ** 2) * np.log(chosen), rtol=1e-4)


def test_focal_with_gamma_zero_is_cross_entropy_and_its_gradient_is_finite() -> None:
    targets = soft_targets(LABELS, num_classes=5, smoothing=0.1)
    plain, focal = LossSettings(), LossSettings(name="focal", gamma=0.0)
    torch.testing.assert_close(clip_losses(LOGITS, targets, focal), clip_losses(LOGITS, targets, plain))
    extreme = torch.tensor([[200.0, -200.0]], requires_grad=True)
    clip_losses(extreme, torch.tensor([[1.0, 0.0]]), LossSettings(name="focal", gamma=0.5)).sum().backward()
    assert extreme.grad is not None and extreme.grad.isfinite().all()
