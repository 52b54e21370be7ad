"""Losses on soft targets, one value a clip: so a batch can be cut into parts of any size whose losses are summed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

LossName = Literal["cross-entropy", "class-balanced", "focal"]


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Which loss, and its numbers."""

    name: LossName = "cross-entropy"
    smoothing: float = 0.1
    """The share of a target that is spread over all classes."""
    beta: float = 0.999
    """Of the class-balanced weights."""
    gamma: float = 2.0
    """Of the focal factor."""


def soft_targets(labels: torch.Tensor, *, num_classes: int, smoothing: float) -> torch.Tensor:
    """float32 (B, classes): 1 - s + s/classes for the label, s/classes elsewhere (Szegedy et al. 2016)."""
    targets = F.one_hot(labels, num_classes).to(torch.float32)
    return targets * (1 - smoothing) + smoothing / num_classes


def class_weights(counts: npt.NDArray[np.int64], *, beta: float) -> npt.NDArray[np.float32]:
    """Class-balanced weights (1 - beta) / (1 - beta**n) (Cui et al. 2019), scaled to a mean of 1: float32 (classes,).

    counts: int64 (classes,), training rows of each class. A class without rows has weight 0 and no part in the mean.
    """
    present = counts > 0
    weights = np.zeros(len(counts))
    weights[present] = (1 - beta) / (1 - np.power(beta, counts[present].astype(np.float64)))
    weights *= present.sum() / weights.sum()
    return weights.astype(np.float32)


def clip_losses(
    logits: torch.Tensor, targets: torch.Tensor, settings: LossSettings, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """The loss of each clip, float32 (B,), from logits (B, classes) and soft targets (B, classes) that sum to 1.

    cross-entropy: -Σ t log p. focal: -Σ t (1 - p)^gamma log p (Lin et al. 2017). class-balanced: -Σ w t log p with
    ``weights`` float32 (classes,) from ``class_weights``.
    """
    log_probability = F.log_softmax(logits.float(), dim=1)
    terms = targets * log_probability
    if settings.name == "focal":
        # Kept off zero: there the derivative of a power below 1 is infinite.
        terms = terms * (-torch.expm1(log_probability)).clamp_min(1e-7).pow(settings.gamma)
    if settings.name == "class-balanced":
        if weights is None:
            raise ValueError("the class-balanced loss needs weights")
        terms = terms * weights
    return -terms.sum(dim=1)
